"""What a camera_info says and images are, in all the ways that drivers and image_proc have; the session that replay and
the node run, and ``localize``, both find the poses, and say what they took the intrinsics from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome, assert_alive, outcome_of
from streams import BASE_FROM_CAMERA, IMAGE, IMAGE_TYPE, INFO, Drive, Stream

from neumap.arrays import BoolArray, FloatArray, ImageArray
from neumap.geometry.cameras import make_camera
from neumap.geometry.intrinsics import FISHEYE, PINHOLE, RAW, RECTIFIED, UNDISTORTED
from neumap.geometry.se3 import invert_pose, pose_error
from neumap.io.bags.source import open_bag
from neumap.io.bags.writer import BagWriter
from neumap.io.camera_info import Told
from neumap.io.images import read_mask
from neumap.localization.lens import ASSUMED, settled
from neumap.localization.localizer import Localizer
from neumap.maps.map_file import load_map
from neumap.records import Camera
from neumap.replay.rig import Rig
from neumap.virtual.drive import drive
from neumap.virtual.render import photograph
from neumap.virtual.scene import Room
from neumap.virtual.world import SMALL

# images of a drive, and how far their poses may be from the truth in the middle and at most, metres
COUNT, CLOSE_M, FAR_M = 6, 0.01, 0.03
SMALL_K = SMALL.camera.matrix
# the sensor whose parts are published
WIDE_K = SMALL_K * [[2, 1, 2], [1, 2, 2], [1, 1, 1]] + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
SENSOR = make_camera(640, 480, WIDE_K)
BARREL = make_camera(320, 240, SMALL_K, "plumb_bob", [-0.25, 0.07, 0.0005, -0.0003, 0.0])
PRISM = [0.1, -0.12, 0.001, -0.002, 0.01, 0.3, -0.1, 0.0, 0.01, -0.004, 0.008, 0.002, 0.03, -0.04]
P = cv2.getOptimalNewCameraMatrix(SMALL_K, BARREL.distortion, (320, 240), 0.0)[0]
ZOOMS = (1.0, 1.12, 0.9)


@cache
def room() -> Room:
    return SMALL.room(0)


@dataclass(frozen=True)
class Way:
    """Images by the cameras in turn, ``made`` of what they show; fields of camera_info by turns; the name of the topic;
    what the user tells; and the sentence to come.
    """

    says: str
    cameras: tuple[Camera, ...] = (BARREL,)
    made: Callable[[ImageArray], ImageArray] = lambda image: image
    info: tuple[dict[str, Any], ...] = ({},)
    topic: str = "/camera/image_raw"
    rectified: bool | None = None
    late: bool = False


def lens(camera: Camera, p: FloatArray | None = None, **more: Any) -> dict[str, Any]:
    """The fields of camera_info of a camera of the whole sensor."""
    matrix = np.zeros((3, 4)) if p is None else np.column_stack([p, np.zeros(3)])
    size = {"width": camera.width, "height": camera.height, "distortion_model": camera.distortion_model}
    return {**size, "k": camera.matrix.ravel(), "d": camera.distortion, "p": matrix.ravel(), **more}


def part(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x_offset": x, "y_offset": y, "width": width, "height": height}


def cut(x: int, y: int, width: int, height: int) -> Callable[[ImageArray], ImageArray]:
    return lambda image: np.ascontiguousarray(image[y : y + height, x : x + width])


def resized(width: int, height: int) -> Callable[[ImageArray], ImageArray]:
    return lambda image: np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def zoomed(factor: float) -> Camera:
    return make_camera(320, 240, SMALL_K * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]])


RAW_AND_P = lens(BARREL, P)
WAYS = {
    "as the lens makes them": Way(RAW, info=(RAW_AND_P,)),
    "a region of the sensor's shape": Way(
        f"{PINHOLE}; the region of interest, 400x300 at 160, 100",
        (SENSOR,),
        cut(160, 100, 400, 300),
        (lens(SENSOR, WIDE_K, roi=part(160, 100, 400, 300)),),
    ),
    "a region of another shape": Way(
        f"{PINHOLE}; the region of interest, 500x260 at 20, 150",
        (SENSOR,),
        cut(20, 150, 500, 260),
        (lens(SENSOR, WIDE_K, roi=part(20, 150, 500, 260)),),
    ),
    "binned": Way(
        f"{PINHOLE}; binned 2x2", (SENSOR,), resized(320, 240), (lens(SENSOR, WIDE_K, binning_x=2, binning_y=2),)
    ),
    "a region that is binned": Way(
        f"{PINHOLE}; the region of interest, 560x400 at 60, 40; binned 2x2",
        (SENSOR,),
        lambda image: resized(280, 200)(cut(60, 40, 560, 400)(image)),
        (lens(SENSOR, WIDE_K, roi=part(60, 40, 560, 400), binning_x=2, binning_y=2),),
    ),
    "a region that is resized": Way(
        f"{PINHOLE}; the region of interest, 560x400 at 60, 40; "
        "the images are 280x200, the calibration is for 560x400: scaled to fit",
        (SENSOR,),
        lambda image: resized(280, 200)(cut(60, 40, 560, 400)(image)),
        (lens(SENSOR, WIDE_K, roi=part(60, 40, 560, 400)),),
    ),
    "resized": Way(
        f"{PINHOLE}; the images are 320x240, the calibration is for 640x480: scaled to fit",
        (SENSOR,),
        resized(320, 240),
        (lens(SENSOR, WIDE_K),),
    ),
    "a region that the images do not heed": Way(
        PINHOLE, (SENSOR,), info=(lens(SENSOR, WIDE_K, roi=part(160, 100, 320, 240)),)
    ),
    "a region of a calibration that is the region's own": Way(
        PINHOLE, (SMALL.camera,), info=(lens(SMALL.camera, SMALL_K, roi=part(160, 100, 320, 240)),)
    ),
    "image_rect beside the raw calibration": Way(
        RECTIFIED, (make_camera(320, 240, P),), info=(RAW_AND_P,), topic="/camera/image_rect_color"
    ),
    "rect above the image": Way(
        RECTIFIED, (make_camera(320, 240, P),), info=(RAW_AND_P,), topic="/zed/left/color/rect/image"
    ),
    "rectified by another name": Way(RECTIFIED, (make_camera(320, 240, P),), info=(RAW_AND_P,), topic="/camera/image"),
    "undistorted by another name": Way(UNDISTORTED, (SMALL.camera,), info=(lens(BARREL),), topic="/camera/image"),
    "a part of the rectified image": Way(
        f"{RECTIFIED}; the region of interest, 280x200 at 20, 30",
        (make_camera(320, 240, P),),
        cut(20, 30, 280, 200),
        (lens(BARREL, P, roi=part(20, 30, 280, 200)),),
        topic="/camera/image_rect",
    ),
    "rectified, as the user says": Way(
        RECTIFIED, (make_camera(320, 240, P),), info=(lens(BARREL, P, distortion_model="ocam"),), rectified=True
    ),
    "not rectified, as the user says": Way(RAW, info=(RAW_AND_P,), topic="/rect/image_rect", rectified=False),
    "autofocus": Way(PINHOLE, tuple(map(zoomed, ZOOMS)), info=tuple(lens(zoomed(z), zoomed(z).matrix) for z in ZOOMS)),
    "autofocus, said after the image": Way(
        PINHOLE, tuple(map(zoomed, ZOOMS)), info=tuple(lens(zoomed(z), zoomed(z).matrix) for z in ZOOMS), late=True
    ),
    "thin prism and tilt": Way(
        RAW,
        (make_camera(320, 240, SMALL_K, "rational_polynomial", PRISM),),
        info=(lens(make_camera(320, 240, SMALL_K, "rational_polynomial", PRISM)),),
    ),
    "fisheye by another name": Way(
        RAW,
        (make_camera(320, 240, SMALL_K, "equidistant", [0.02, -0.01, 0.003, 0.0]),),
        info=(lens(replace(BARREL, distortion=np.array([0.02, -0.01, 0.003, 0.0])), distortion_model="fisheye"),),
    ),
    "no distortion, of an unknown lens": Way(
        PINHOLE, (SMALL.camera,), info=(lens(SMALL.camera, SMALL_K, distortion_model="ocam", d=[0.0] * 7),)
    ),
    "no distortion, called equidistant": Way(
        PINHOLE, (SMALL.camera,), info=(lens(SMALL.camera, SMALL_K, distortion_model="equidistant", d=[0.0] * 4),)
    ),
    "a fisheye without distortion": Way(
        FISHEYE,
        (make_camera(320, 240, SMALL_K, "equidistant"),),
        info=(lens(SMALL.camera, SMALL_K, distortion_model="equidistant", d=[0.0] * 4),),
    ),
}


def seen(way: Way) -> Stream:
    """The stream of a drive with a camera, said in a way."""
    poses = drive(room(), 0, 3 * SMALL.mapping_frames - 2, "mapping")[20 : 20 + 2 * COUNT : 2]
    images = []
    for index, camera in zip(range(COUNT), cycle(way.cameras), strict=False):
        image, _ = photograph(room(), camera, poses, index, 1)
        images.append(way.made(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)))
    infos = cycle(way.info)

    def said(message: Any) -> Any:
        for name, value in next(infos).items():
            if name == "roi":
                for each, number in value.items():
                    setattr(message.roi, each, number)
            else:
                is_list = name in ("k", "d", "p")
                setattr(message, name, np.asarray(value, dtype=np.float64) if is_list else value)
        return message

    stream = streams.recorded(Drive(SMALL.camera, tuple(images), poses @ invert_pose(BASE_FROM_CAMERA)))
    stream = streams.changed(stream, INFO, said)
    return streams.late(stream, INFO, 0.05) if way.late else stream


def played(virtual_map: Path, stream: Stream, topic: str, **parameters: Any) -> Outcome:
    rig = Rig({"map": str(virtual_map)} | parameters, streams.begin_of(stream), image_topics={"": topic})
    rig.start()
    rig.play(streams.to_play(stream), after_s=0.5)
    assert_alive(rig)
    return outcome_of(rig, stream)


def written(path: Path, stream: Stream, topic: str) -> Path:
    """A bag of the images and their calibrations."""
    with BagWriter(path) as bag:
        for each in stream:
            if each.topic == IMAGE:
                image = streams.decoded(each)
                image.data = np.frombuffer(bytes(image.data), np.uint8)
                bag.write(topic, IMAGE_TYPE, each.time_ns, image)
            elif each.topic == INFO:
                bag.write("/camera/camera_info", "sensor_msgs/msg/CameraInfo", each.time_ns, each.message)
    return path


@pytest.fixture(scope="module")
def localizer(virtual_map: Path) -> Localizer:
    return Localizer(load_map(virtual_map))


def localized(localizer: Localizer, bag: Path, told: Told, stream: Stream) -> tuple[str, npt.NDArray[np.float64]]:
    """What ``localize`` says of the intrinsics, and how far each pose is off, metres."""
    source = settled(localizer, open_bag(bag, poses=False, told=told))
    truth = streams.truth_of(stream)
    true = dict(zip(truth.stamps_ns.tolist(), truth.map_from_camera @ BASE_FROM_CAMERA, strict=True))
    off = []
    for frame in source.frames:
        estimate = localizer.localize(frame.read_image(), frame.camera)
        assert estimate.map_from_camera is not None, estimate.reason
        off.append(np.linalg.norm(pose_error(estimate.map_from_camera, true[frame.stamp_ns])[:3]))
    return source.notes[0], np.array(off)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_ways(virtual_map: Path, localizer: Localizer, tmp_path: Path, way: Way) -> None:
    stream = seen(way)
    told = {} if way.rectified is None else {"rectified": "always" if way.rectified else "never"}
    outcome = played(virtual_map, stream, way.topic, **told)
    off_m = np.linalg.norm(outcome.errors[:, :3], axis=1)
    # nothing is known of the camera when the first image comes
    assert len(off_m) == COUNT - way.late
    assert (np.median(off_m) < CLOSE_M, off_m.max() < FAR_M) == (True, True), off_m.round(3)
    said = [line for line in outcome.log_lines if "intrinsics: " in line]
    assert said == [f"INFO intrinsics: {way.says}"]

    bag = written(tmp_path / "bag", stream, way.topic)
    said_of_bag, off_m = localized(localizer, bag, Told(way.rectified), stream)
    assert said_of_bag == f"intrinsics: {way.says}"
    assert (np.median(off_m) < CLOSE_M, off_m.max() < FAR_M) == (True, True), off_m.round(3)


def test_too_little_to_tell(virtual_map: Path, localizer: Localizer, tmp_path: Path) -> None:
    """No image is clear: the likeliest is assumed, and said to be; the session leaves it open."""
    way = replace(WAYS["as the lens makes them"], made=lambda image: np.full_like(image, 90))
    stream = seen(way)
    outcome = played(virtual_map, stream, way.topic)
    assert not [line for line in outcome.log_lines if "intrinsics: " in line]
    source = settled(localizer, open_bag(written(tmp_path / "bag", stream, way.topic), poses=False))
    assert source.notes[0] == f"intrinsics: {RAW} ({ASSUMED})"


def body(shape: tuple[int, int]) -> tuple[ImageArray, BoolArray]:
    """What shows below in all images: a picture of another part of the room; and the mask of the rest."""
    pose = drive(room(), 0, 3 * SMALL.mapping_frames - 2, "mapping")[110:111]
    image = np.asarray(cv2.cvtColor(photograph(room(), SMALL.camera, pose, 0, 5)[0], cv2.COLOR_BGR2GRAY), np.uint8)
    mask = np.ones(shape, dtype=bool)
    mask[shape[0] // 2 :] = False
    return image, mask


@pytest.mark.parametrize("scale", [1, 2])
def test_mask(virtual_map: Path, localizer: Localizer, tmp_path: Path, scale: int) -> None:
    """The mask may be of another resolution than the images."""
    picture, mask = body((240, 320))
    way = Way(PINHOLE, (SMALL.camera,), lambda image: np.where(mask, image, picture), (lens(SMALL.camera, SMALL_K),))
    stream = seen(way)
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), cv2.resize(255 * mask.astype(np.uint8), (320 * scale, 240 * scale)))
    bag = written(tmp_path / "bag", stream, way.topic)
    if scale == 1:  # the picture is believed
        outcome = played(virtual_map, stream, way.topic)
        assert np.linalg.norm(outcome.errors[:, :3], axis=1).max() > 0.5
    _, off_m = localized(localizer, bag, Told(mask=read_mask(path)), stream)
    assert (np.median(off_m) < CLOSE_M, off_m.max() < FAR_M) == (True, True), off_m.round(3)
    outcome = played(virtual_map, stream, way.topic, mask=str(path))
    off_m = np.linalg.norm(outcome.errors[:, :3], axis=1)
    assert len(off_m) == COUNT
    assert (np.median(off_m) < CLOSE_M, off_m.max() < FAR_M) == (True, True), off_m.round(3)


def test_a_mask_of_another_shape(virtual_map: Path, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), np.full((300, 300), 255, np.uint8))
    outcome = played(virtual_map, seen(Way(PINHOLE, (SMALL.camera,))), "/image", mask=str(path))
    assert outcome.states[-1][1].startswith("the mask is 300x300, the images are 320x240, another shape: make")
