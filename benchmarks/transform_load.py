"""The node's CPU time for transforms, while another process publishes six links at 200 Hz each.

    python tools/ros_core.py python benchmarks/transform_load.py [INSTALL ...]

The node is active in a map of a small virtual room. "6 x 1": six messages every 5 ms, one for each link; "1 x 6": one
message; "1 x 6, 10 Hz": without the load. Costs are in percent of one core, without images and with two a second. Each
``INSTALL`` is the folder `.ros/install` of a version.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from neumap_ros.msg import LocalizationStatus
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

from neumap.io.tum import read_tum
from neumap.virtual.world import SMALL, write_world

# IMAGE_PERIOD_S: of the images, seconds
IMAGE_PERIOD_S = 1 / 2
# LINKS: parent and child; the camera's chain and, beside it, what else turns on a robot
LINKS = (
    ("odom", "base_link"),
    ("base_link", "mast"),
    ("mast", "camera_optical"),
    *(("base_link", f"wheel_{side}") for side in ("left", "right", "back")),
)
CAMERA = LINKS[2][1]
# LOADS: links in a message, and messages a second of each
LOADS = {"1 x 6, 10 Hz": (6, 10), "6 x 1, 200 Hz": (1, 200), "1 x 6, 200 Hz": (6, 200)}
SETTLED_S = 3.0
# HERE: where this version is installed
HERE = Path(__file__).resolve().parents[1] / ".ros" / "install"
# STAMP: a time that stands for the one of sending
STAMP = (1_234_567_890, 123_456_789)


def publish(per_message: int, rate: int, sent: Any, begin: Any, end: Any) -> None:
    """Publish links from ``begin`` to ``end``, ``per_message`` in each message, in its own process; count turns."""
    rclpy.init()
    publisher = rclpy.create_node("load").create_publisher(TFMessage, "/tf", 100)
    links = []
    for index, (parent, child) in enumerate(LINKS):
        link = TransformStamped(child_frame_id=child)
        link.header.frame_id, (link.header.stamp.sec, link.header.stamp.nanosec) = parent, STAMP
        link.transform.translation.x, link.transform.rotation.w = 0.1 * index, 1.0
        if child == CAMERA:
            q = link.transform.rotation
            q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
        links.append(link)
    groups = (links[i : i + per_message] for i in range(0, len(links), per_message))
    templates = [bytes(serialize_message(TFMessage(transforms=group))) for group in groups]
    stamp = struct.pack("<iI", *STAMP)
    begin.wait()
    due = time.monotonic()
    while not end.is_set():
        now = struct.pack("<iI", *divmod(time.time_ns(), 1_000_000_000))
        for template in templates:
            publisher.publish(template.replace(stamp, now))
        sent.value += 1
        # a machine that was busy does not catch up
        due = max(due + 1 / rate, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


class Robot:
    """Asks the node to start, and shows it an image."""

    def __init__(self, world: Path) -> None:
        rclpy.init()
        self._node = rclpy.create_node("benchmark")
        self._lifecycle = self._node.create_client(ChangeState, "/neumap_localizer/change_state")
        self._images = self._node.create_publisher(CompressedImage, "image/compressed", 1)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", 1)
        self.states: list[int] = []
        self._node.create_subscription(
            LocalizationStatus, "/neumap_localizer/status", lambda status: self.states.append(status.state), 1
        )
        frame = read_tum(world / "mapping").frames[0]
        self._image = CompressedImage(format="jpeg", data=(world / "mapping" / frame.name).read_bytes())
        self._info = CameraInfo(width=frame.camera.width, height=frame.camera.height, distortion_model="plumb_bob")
        matrix = frame.camera.matrix
        self._info.k, self._info.d = matrix.ravel(), [0.0] * 5
        self._info.r, self._info.p = np.eye(3).ravel(), np.column_stack([matrix, np.zeros(3)]).ravel()

    def activate(self) -> None:
        """Configure and activate the node."""
        assert self._lifecycle.wait_for_service(60)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            answer = self._lifecycle.call_async(request)
            rclpy.spin_until_future_complete(self._node, answer, timeout_sec=60)
            assert answer.result().success
        self.states.clear()

    def wait(self, seconds: float, images: bool) -> None:
        """Let time pass, with or without images."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if images:
                stamp = self._node.get_clock().now().to_msg()
                for publisher, message in ((self._infos, self._info), (self._images, self._image)):
                    message.header.stamp, message.header.frame_id = stamp, CAMERA
                    publisher.publish(message)
            due = time.monotonic() + min(left, IMAGE_PERIOD_S)
            while (left := due - time.monotonic()) > 0:
                rclpy.spin_once(self._node, timeout_sec=left)


def environment(install: Path) -> dict[str, str]:
    """Return this environment with another version in place of this one."""
    return {key: value.replace(str(HERE), str(install)) for key, value in os.environ.items()}


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU time that a process and its threads have used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Return how much memory a process holds."""
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(kilobytes) / 1024


def measured(robot: Robot, install: Path, world: Path, load: str, seconds: float, watch: int) -> dict[bool, float]:
    """Return the percent of a core that the node takes without images (False) and with them (True); then watch its
    memory for ``watch`` minutes.
    """
    processes = get_context("spawn")
    sent, begin, end = processes.Value("q", 0), processes.Event(), processes.Event()
    publisher = processes.Process(target=publish, args=(*LOADS[load], sent, begin, end))
    publisher.start()
    node = started(install, world)
    costs: dict[bool, float] = {}
    rates: list[float] = []
    try:
        robot.activate()
        begin.set()
        for images in (False, True):
            robot.wait(SETTLED_S, images)
            before, at, count = cpu_s(node), time.monotonic(), sent.value
            robot.wait(seconds, images)
            lasted_s = time.monotonic() - at
            costs[images] = 100 * (cpu_s(node) - before) / lasted_s
            rates.append((sent.value - count) / lasted_s)
        tracked = statistics.mean(state == LocalizationStatus.TRACKING for state in robot.states[1:])
        print(
            f"{install}, {load}: {costs[False]:.1f} %, with images {costs[True]:.1f} %; sent at {min(rates):.0f} Hz or "
            f"more, {100 * tracked:.0f} % of images tracked, {memory_mb(node):.0f} MB",
            flush=True,
        )
        for minute in range(watch):
            robot.wait(60, images=True)
            print(f"  after {minute + 1} min: {memory_mb(node):.1f} MB", flush=True)
    finally:
        begin.set()
        end.set()
        node.send_signal(signal.SIGINT)
        node.wait(60)
        publisher.join()
    return costs


def started(install: Path, world: Path) -> subprocess.Popen[bytes]:
    """Start the node of a version."""
    parameters = {"map": world / "room.neumap", "image_transport": "compressed"}
    given = itertools.chain.from_iterable(("-p", f"{name}:={value}") for name, value in parameters.items())
    executable = install / "lib" / "neumap_ros" / "localizer"
    return subprocess.Popen(
        [executable, "--ros-args", "--log-level", "error", *given],
        env=environment(install),
        stdin=subprocess.DEVNULL,
    )


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("installs", type=Path, nargs="*", default=[HERE], help="versions that take turns")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--watch", type=int, default=0, metavar="MINUTES", help="tell the memory")
    parser.add_argument("--world", type=Path, help="keep the virtual room here")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        world = args.world or Path(scratch)
        if not (world / "room.neumap").exists():
            write_world(world, replace(SMALL, query_frames=1, other_room_frames=1))
            command = [sys.executable, "-m", "neumap.cli", "map", world / "mapping", "--quick"]
            subprocess.run([*command, "--out", world / "room.neumap"], check=True)
        robot = Robot(world)
        costs = defaultdict(list)
        for _, load, install in itertools.product(range(args.turns), args.loads, args.installs):
            for images, cost in measured(robot, install, world, load, args.seconds, args.watch).items():
                costs[load, images, install].append(cost)
        for (load, images, install), percents in sorted(costs.items(), key=str):
            print(f"{load}, {'with' if images else 'no'} images, {install}: {statistics.median(percents):.1f} %")


if __name__ == "__main__":
    main()
