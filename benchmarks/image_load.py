"""Throughput of a node on one core with 30 images a second of 640 x 480 pixels, and gaps of its transform.

    python tools/ros_core.py python benchmarks/image_load.py [INSTALL ...]

A drive through a virtual room, there and back, is published as by a robot: odom -> base, camera_info and a JPEG image,
30 times a second. ``max_image_rate`` is 0. The table gives images searched per second, and the CPU for each; the share
of tracked images; and the share of gaps of map -> odom within its period and ``transform_tolerance`` together. Each
``INSTALL`` is the folder `.ros/install` of a version, with its own map.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from neumap_ros.msg import LocalizationStatus
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage

# at the end: what is imported of neumap_ros is what is installed
sys.path.append(str(Path(__file__).resolve().parents[1]))
from benchmarks.transform_load import HERE, cpu_s, environment, memory_mb
from neumap.geometry.se3 import invert_pose, make_pose, quat_from_matrix
from neumap.virtual.drive import drive
from neumap.virtual.render import JPEG, photograph
from neumap.virtual.world import VirtualWorld, write_world

WORLD, RATE_HZ = VirtualWorld(), 30.0
# DRIVE_FRAMES: at this rate as fast as the demo's 40 images at 5 Hz
DRIVE_FRAMES = 240
SETTLED_S = 5.0
# WORST_GAP_S: of the transform by default: its period, 1/20 s, and transform_tolerance
WORST_GAP_S = 0.05 + 0.2
CAMERA = "camera_optical"
# BASE_FROM_CAMERA: it looks ahead; axes as of REP-103
BASE_FROM_CAMERA = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))


class Measured(NamedTuple):
    """What a node did: images searched a second, CPU for each in ms, shares, and the longest gap in seconds."""

    rate_hz: float
    cpu_ms: float
    tracked: float
    steady: float
    longest_gap_s: float
    memory_mb: float


class Robot:
    """Drives through the room, and listens to the node."""

    def __init__(self, world: VirtualWorld, folder: Path) -> None:
        rclpy.init()
        self._node = rclpy.create_node("benchmark")
        self._lifecycle = self._node.create_client(ChangeState, "/neumap_localizer/change_state")
        self._images = self._node.create_publisher(CompressedImage, "image/compressed", 1)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", 1)
        self._tf = self._node.create_publisher(TFMessage, "/tf", 100)
        self.statuses: list[LocalizationStatus] = []
        self.came: list[float] = []
        self._node.create_subscription(LocalizationStatus, "/neumap_localizer/status", self.statuses.append, 100)
        self._node.create_subscription(TFMessage, "/tf", self._hear, 100)
        self._images_of_drive, self._poses = recorded(world, folder)
        self._info = CameraInfo(width=world.width, height=world.height, distortion_model="plumb_bob", d=[0.0] * 5)
        matrix = world.camera.matrix
        self._info.k, self._info.r = matrix.ravel(), np.eye(3).ravel()
        self._info.p = np.column_stack([matrix, np.zeros(3)]).ravel()

    def _hear(self, message: TFMessage) -> None:
        if any(link.header.frame_id == "map" for link in message.transforms):
            self.came.append(time.monotonic())

    def activate(self) -> None:
        """Configure and activate the node."""
        assert self._lifecycle.wait_for_service(60)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            answer = self._lifecycle.call_async(ChangeState.Request(transition=Transition(id=transition)))
            rclpy.spin_until_future_complete(self._node, answer, timeout_sec=60)
            assert answer.result().success

    def drive(self, seconds: float) -> None:
        """Drive there and back, again and again."""
        self.statuses.clear()
        self.came.clear()
        there_and_back = [*range(len(self._poses)), *range(len(self._poses) - 2, 0, -1)]
        begin = time.monotonic()
        for turn, index in enumerate(itertools.cycle(there_and_back)):
            due = begin + turn / RATE_HZ
            if due > begin + seconds:
                return
            while (left := due - time.monotonic()) > 0:
                rclpy.spin_once(self._node, timeout_sec=left)
            stamp = self._node.get_clock().now().to_msg()
            self._tf.publish(TFMessage(transforms=self._links(stamp, self._poses[index])))
            image = CompressedImage(format="jpeg", data=self._images_of_drive[index])
            for publisher, message in ((self._infos, self._info), (self._images, image)):
                message.header.stamp, message.header.frame_id = stamp, CAMERA
                publisher.publish(message)

    def _links(self, stamp: Any, pose: np.ndarray) -> list[TransformStamped]:
        links = []
        for parent, child, placed in (
            ("odom", "base_link", pose @ invert_pose(BASE_FROM_CAMERA)),
            ("base_link", CAMERA, BASE_FROM_CAMERA),
        ):
            link = TransformStamped(child_frame_id=child)
            link.header.frame_id, link.header.stamp = parent, stamp
            place, turn = link.transform.translation, link.transform.rotation
            place.x, place.y, place.z = map(float, placed[:3, 3])
            turn.x, turn.y, turn.z, turn.w = map(float, quat_from_matrix(placed[:3, :3]))
            links.append(link)
        return links


def recorded(world: VirtualWorld, folder: Path) -> tuple[list[bytes], np.ndarray]:
    """Return the images of the drive as JPEG files, and the poses (N, 4, 4) of the camera in its room."""
    room = world.room(0)
    poses = drive(room, 0, DRIVE_FRAMES, "query")
    images = []
    for index in range(DRIVE_FRAMES):
        path = folder / f"drive_{index:04d}.jpg"
        if not path.exists():
            path.write_bytes(
                cv2.imencode(".jpg", photograph(room, world.camera, poses, index, 1)[0], JPEG)[1].tobytes()
            )
        images.append(path.read_bytes())
    return images, poses


def measured(robot: Robot, install: Path, neural_map: Path, core: int, seconds: float) -> Measured:
    """Start a version of the node on one core and drive for ``seconds``."""
    parameters = {"map": neural_map, "image_transport": "compressed", "max_image_rate": 0.0}
    given = itertools.chain.from_iterable(("-p", f"{name}:={value}") for name, value in parameters.items())
    executable = install / "lib" / "neumap_ros" / "localizer"
    node = subprocess.Popen(
        ["taskset", "-c", str(core), executable, "--ros-args", "--log-level", "error", *given],
        env=environment(install),
        stdin=subprocess.DEVNULL,
    )
    try:
        robot.activate()
        robot.drive(SETTLED_S)
        before_s = cpu_s(node)
        robot.drive(seconds)
        took_s = cpu_s(node) - before_s
        processed = robot.statuses[-1].images_processed - robot.statuses[0].images_processed
        gaps = np.diff(robot.came)
        return Measured(
            processed / seconds,
            1e3 * took_s / processed,
            statistics.mean(status.state == LocalizationStatus.TRACKING for status in robot.statuses),
            float((gaps <= WORST_GAP_S).mean()),
            float(gaps.max()),
            memory_mb(node),
        )
    finally:
        node.send_signal(signal.SIGINT)
        node.wait(60)


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("installs", type=Path, nargs="*", default=[HERE], help="versions that take turns")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--core", type=int, default=0, help="the core that the node has")
    parser.add_argument("--world", type=Path, help="keep the virtual room and the maps here")
    parser.add_argument("--drive", type=Path, metavar="MAP", help="measure one version in its map")
    args = parser.parse_args()
    if args.drive:
        # the robot is not to take from the node
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {args.core} or {args.core})
        robot = Robot(WORLD, args.world)
        print(json.dumps(measured(robot, args.installs[0], args.drive, args.core, args.seconds)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.world or Path(scratch)
        if not (folder / "mapping").exists():
            write_world(folder, replace(WORLD, query_frames=1, other_room_frames=1))
        maps = {install: folder / f"room-{number}.neumap" for number, install in enumerate(args.installs)}
        for install, path in maps.items():
            if not path.exists():
                command = [sys.executable, "-m", "neumap.cli", "map", folder / "mapping", "--out", path]
                subprocess.run(command, check=True, env=environment(install), cwd=install)
        recorded(WORLD, folder)
        found = defaultdict(list)
        for _, install in itertools.product(range(args.turns), args.installs):
            # a process of its own: messages differ from version to version
            command = [sys.executable, __file__, install, "--drive", maps[install]]
            command += ["--world", folder, "--seconds", str(args.seconds), "--core", str(args.core)]
            answer = subprocess.run(command, env=environment(install), check=True, stdout=subprocess.PIPE, text=True)
            found[install].append(Measured(*json.loads(answer.stdout)))
            print(f"{install}: {told(found[install][-1])}", flush=True)
        for install, every in found.items():
            median = Measured(*map(statistics.median, zip(*every, strict=True)))
            print(f"{install}, median of {args.turns}: {told(median)}")


def told(what: Measured) -> str:
    """Tell in words."""
    return (
        f"{what.rate_hz:.1f} images a second, {what.cpu_ms:.0f} ms of CPU each, {100 * what.tracked:.1f} % tracked, "
        f"gaps of the transform: {100 * what.steady:.2f} % within {WORST_GAP_S:g} s, most {what.longest_gap_s:.2f} s; "
        f"{what.memory_mb:.0f} MB"
    )


if __name__ == "__main__":
    main()
