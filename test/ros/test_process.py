"""The process: names of its node, what it prints, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable

from client import Client
from conftest import World
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_process import CONFIGURE, LATCHED, NodeProcess
from player import Player, Recording

Start = Callable[..., NodeProcess]

SIM = ("-p", "use_sim_time:=true", "-p", "image_transport:=compressed")


def test_a_namespace_and_remaps(start: Start, world: World, recording: Recording, client: Client) -> None:
    """Then Ctrl-C, with an image in work."""
    remaps = ("-r", "image/compressed:=camera/color/compressed", "-r", "pose:=camera_pose")
    node = start(*SIM, "-p", f"map:={world.map}", *remaps)
    poses = client.listen(PoseWithCovarianceStamped, f"{node.namespace}/camera_pose", LATCHED)
    player = Player(client, recording, node, {"image/compressed": "camera/color/compressed"})
    player.seek(0)
    node.activate()
    player.step_to(1.0)
    assert node.belief == "TRACKING", node.told
    assert poses
    assert not node.poses
    assert node.transforms
    graph = client.node
    used = [
        *graph.get_publisher_names_and_types_by_node("neumap_localizer", node.namespace),
        *graph.get_subscriber_names_and_types_by_node("neumap_localizer", node.namespace),
    ]
    outside = {topic for topic, _ in used if not topic.startswith(f"{node.namespace}/")}
    assert outside == {"/clock", "/diagnostics", "/rosout", "/parameter_events"}
    with player.running():
        client.wait(0.3)
        assert node.stop(signal.SIGINT) == 0
    player.close()
    assert "Traceback" not in node.output


def test_debug_lines_are_its_own(start: Start, world: World, recording: Recording, client: Client) -> None:
    """Then SIGTERM, with an image in work; what a process exits with after that is rclpy's affair."""
    node = start(*SIM, "-p", f"map:={world.map}", log_level="debug")
    player = Player(client, recording, node)
    player.seek(0)
    node.activate()
    player.step_to(1.0)
    debug = [line for line in node.output.splitlines() if line.startswith("[DEBUG]")]
    assert debug
    assert all("neumap_localizer]" in line for line in debug)
    assert len(debug) < 200
    with player.running():
        client.wait(0.3)
        node.stop(signal.SIGTERM)
    player.close()
    assert "Traceback" not in node.output


def test_sigterm_ends_an_idle_node(start: Start, world: World) -> None:
    """As from systemd or docker."""
    node = start("-p", f"map:={world.map}")
    assert node.change(CONFIGURE)
    node.stop(signal.SIGTERM, patience_s=10.0)
    assert "Traceback" not in node.output
