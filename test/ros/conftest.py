"""A virtual world, its map and a recording of a drive; the localizer in another process; and who asks and plays.

All that is imported of the product is imported here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from client import Client
    from node_process import NodeProcess
    from player import Player, Recording


def is_here(module: str) -> bool:
    """Tell whether a module can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


# `make test-ros` brings these; elsewhere there is nothing to collect
if not all(map(is_here, ("rclpy", "neumap_ros.msg", "tf2_msgs"))):
    collect_ignore_glob = ["test_*.py"]

# NUMBERS: each localizer but the one that most tests share has a namespace of its own
NUMBERS = itertools.count(1)
# EVERY: of 10 images a second every other one is played: so many does the localizer search anyway
EVERY = 2
# SECONDS: of the drive; the lens is covered for four of them in its middle, from 3 s to 7 s
SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class World:
    """Holds two maps of the same room, and the bag of a drive through it."""

    map: Path
    other_map: Path
    bag: Path


def neumap(*arguments: object) -> None:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "neumap.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make a small world."""
    from neumap.io.trajectories import read_trajectory
    from neumap.virtual.recording import record_query
    from neumap.virtual.world import MAPPING, SMALL, write_world

    folder = tmp_path_factory.mktemp("world")
    small = dataclasses.replace(SMALL, query_frames=1, other_room_frames=1)
    room = write_world(folder, small, seed=0)
    mapped = read_trajectory(folder / MAPPING / "groundtruth.txt").map_from_camera
    world = World(folder / "room.neumap", folder / "other.neumap", folder / "bag")
    record_query(world.bag, room, small.camera, mapped, SECONDS, seed=0)
    for seed, path in enumerate((world.map, world.other_map)):
        neumap("map", folder / MAPPING, "--out", path, "--quick", "--seed", seed)
    return world


@pytest.fixture(scope="session")
def recording(world: World) -> Recording:
    """Read the bag."""
    from player import CAMERA_INFO, IMAGE, TF_STATIC, Recording, Timed, message_class
    from rosbags.highlevel import AnyReader

    from neumap.virtual.recording import IMAGE_TOPIC, INFO_TOPIC, TRUTH_TOPIC

    topics = {IMAGE_TOPIC: IMAGE, INFO_TOPIC: CAMERA_INFO, "/tf": "tf", "/tf_static": TF_STATIC}
    messages, truth, count = [], {}, 0
    with AnyReader([world.bag]) as reader:
        for connection, time_ns, data in reader.messages():
            kind = message_class(connection.msgtype)
            timed = Timed(time_ns, topics.get(connection.topic, ""), kind, bytes(data))
            if connection.topic == TRUTH_TOPIC:
                truth[time_ns] = timed.message.pose
            elif timed.topic == IMAGE:
                messages += [timed] * (count % EVERY == 0)
                count += 1
            elif timed.topic:
                messages.append(timed)
    return Recording(messages, truth)


@pytest.fixture(scope="session")
def table() -> Any:
    """Return the declarations of all parameters."""
    from neumap.tracking.settings import SPECS

    return list(SPECS.values())


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Make the node that all tests share."""
    from client import Client

    made = Client()
    yield made
    made.close()


@pytest.fixture
def start(client: Client, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start a localizer in a namespace of its own; it ends with the test."""
    from node_process import NodeProcess

    started: list[NodeProcess] = []

    def run(*ros_arguments: str, up: bool = True, log_level: str = "info") -> NodeProcess:
        log = tmp_path / f"output{len(started)}.txt"
        node = NodeProcess(client, log, *ros_arguments, namespace=f"/robot{next(NUMBERS)}", log_level=log_level)
        started.append(node)
        assert not up or node.is_up(), node.output
        return node

    yield run
    for node in started:
        end(node)
        print(node.output)


def end(node: NodeProcess) -> None:
    """End a localizer, whatever it says to that."""
    if node.alive:
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.stop()


def reset(node: NodeProcess, values: dict[str, Any]) -> None:
    """Bring a localizer to the state "unconfigured", with these parameters."""
    from node_process import CLEANUP, DEACTIVATE

    for state, transition in (("active", DEACTIVATE), ("inactive", CLEANUP)):
        if node.state == state:
            assert node.change(transition), node.output
    assert node.set(values) == {}
    node.forget()


@pytest.fixture(scope="session")
def shared(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], NodeProcess]]:
    """Give one localizer after the other: the next when one has ended."""
    from ament_index_python.packages import get_package_share_directory
    from node_process import NodeProcess

    folder = tmp_path_factory.mktemp("node")
    defaults = Path(get_package_share_directory("neumap_ros"), "config", "localize.yaml")
    running: list[NodeProcess] = []

    def give() -> NodeProcess:
        if not running or not running[-1].alive:
            arguments = ("--params-file", str(defaults), "-p", "use_sim_time:=true")
            running.append(NodeProcess(client, folder / f"output{len(running)}.txt", *arguments))
            assert running[-1].is_up(), running[-1].output
        return running[-1]

    yield give
    for node in running:
        end(node)


@pytest.fixture
def node(shared: Callable[[], NodeProcess], world: World, table: Any) -> Iterator[NodeProcess]:
    """Give the localizer that most tests share: unconfigured, on simulated time, its parameters as if it was new but
    for the map and compressed images, and that it searches each image however slow the computer is. What a test has
    broken is replaced.
    """
    node = shared()
    node.turn_page()
    values = {spec.name: list(spec.default) if isinstance(spec.default, tuple) else spec.default for spec in table}
    values |= {"map": str(world.map), "image_transport": "compressed", "max_cpu": 256.0}
    try:
        reset(node, values)
    except AssertionError:
        node.kill()
        node = shared()
        reset(node, values)
    yield node
    print(node.output)


@pytest.fixture
def player(client: Client, recording: Recording, node: NodeProcess) -> Iterator[Player]:
    """Make a robot for :func:`node`, at the beginning of its drive."""
    from player import Player

    made = Player(client, recording, node)
    yield made
    made.close()


@pytest.fixture
def tracking(node: NodeProcess, player: Player) -> Player:
    """Play the first second of the drive; the localizer is tracking."""
    player.seek(0)
    node.activate()
    player.step_to(1.0)
    assert node.belief == "TRACKING", node.told
    return player
