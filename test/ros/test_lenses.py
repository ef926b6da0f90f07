"""What a driver cuts out of the sensor, and what image_proc leaves beside image_rect: the poses are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from client import Client
from conftest import World
from node_process import CONFIGURE, NodeProcess
from player import CAMERA_INFO, IMAGE, Player, Recording, Timed
from rclpy.serialization import serialize_message

Start = Callable[..., NodeProcess]
SIM = ("-p", "use_sim_time:=true", "-p", "image_transport:=compressed")
# X, Y, WIDTH, HEIGHT: what is read out of the sensor, in its aspect
X, Y, WIDTH, HEIGHT = 40, 20, 256, 192
CLOSE_M, FAR_M = 0.01, 0.03


def cut(message: Any) -> Any:
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_GRAYSCALE)
    message.data = cv2.imencode(".png", pixels[Y : Y + HEIGHT, X : X + WIDTH])[1].tobytes()
    message.format = "png"
    return message


def with_region(info: Any) -> Any:
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = X, Y, WIDTH, HEIGHT
    return info


def of_the_lens(info: Any) -> Any:
    """As the camera's own: P is that of the images, K and D are of what they were made of."""
    k = np.reshape(info.k, (3, 3))
    info.p = np.column_stack([k, np.zeros(3)]).ravel()
    info.k, info.d = (k * [[1.1, 1, 1], [1, 1.1, 1], [1, 1, 1]]).ravel(), [-0.3, 0.1, 0.0, 0.0, 0.0]
    return info


WAYS: dict[str, tuple[str, dict[str, Callable[[Any], Any]], str]] = {
    "region": (
        "image_raw",
        {IMAGE: cut, CAMERA_INFO: with_region},
        f"K of camera_info, which has no distortion; the region of interest, {WIDTH}x{HEIGHT} at {X}, {Y}",
    ),
    "image_rect": ("image_rect", {CAMERA_INFO: of_the_lens}, "P of camera_info, for rectified images"),
    "by another name": ("image", {CAMERA_INFO: of_the_lens}, "P of camera_info, for rectified images"),
}


@pytest.mark.parametrize("way", WAYS)
def test_lenses(start: Start, world: World, recording: Recording, client: Client, way: str) -> None:
    topic, changes, says = WAYS[way]
    changed = [
        Timed(each.time_ns, each.topic, each.kind, serialize_message(changes[each.topic](each.message)))
        if each.topic in changes
        else each
        for each in recording.messages
    ]
    name = f"camera/{topic}/compressed"
    node = start(*SIM, "-p", f"map:={world.map}", "-r", f"image/compressed:={name}")
    player = Player(client, Recording(changed, recording.truth), node, {IMAGE: name})
    player.seek(0)
    node.activate()
    player.step_to(2.8)
    off_m = np.array([recording.error_m(pose) for pose in node.poses])
    assert len(off_m) > 10, node.told
    assert (np.median(off_m) < CLOSE_M, off_m.max() < FAR_M) == (True, True), off_m.round(3)
    assert node.output.count("intrinsics: ") == 1
    assert f"intrinsics: {says}" in node.output


def test_a_mask_that_is_none(start: Start, world: World, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.zeros((240, 320), np.uint8))
    node = start(*SIM, "-p", f"map:={world.map}", "-p", f"mask:={path}")
    assert not node.change(CONFIGURE)
    assert f"not configured: the mask {path} is all black" in node.output
