"""The process: names of its node, what it prints, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from client import Client
from conftest import World
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_process import CONFIGURE, LATCHED, NodeProcess
from player import Player, Recording

Start = Callable[..., NodeProcess]

RIGHT_M = 0.05
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


def test_a_machine_that_is_too_slow_is_told_so(
    start: Start, world: World, recording: Recording, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images come in time, but each takes longer than one may be missing: the reason says so, and nothing is lost."""
    monkeypatch.setenv("CV_BRIDGE_TAKES_S", "0.4")
    node = start("-p", "use_sim_time:=true", "-p", f"map:={world.map}", "-p", "image_timeout:=0.3")
    player = Player(client, recording, node)
    player.raw = True
    player.seek(0)
    node.activate()
    with player.running():
        assert client.until(lambda: player.now_s > 2.9)
    player.close()
    assert "LOST" not in {state for state, _ in node.told}, node.told
    reasons = [reason for state, reason in node.told if state == "DEGRADED"]
    assert len(reasons) > 1, node.told
    assert all("longer" in reason and "no image" not in reason for reason in reasons), node.told
    assert all(recording.error_m(pose) < RIGHT_M for pose in node.poses)
