"""Messages to arrays and back: values, the types that ROS does not check, and what is refused."""

from __future__ import annotations

from array import array
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap.arrays import FloatArray
from neumap.errors import CalibrationError, DataError
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.tracking.tracker import Fix

POSE = make_pose(rotation_exp(np.array([0.3, -1.2, 2.5])), np.array([1.0, -2.0, 3.5]))
ROWS, COLUMNS = 6, 8


def message(name: str, **fields: Any) -> Any:
    """A message of a type ("sensor_msgs/Image") of the packages that are installed."""
    import importlib

    package, _, kind = name.partition("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)(**fields)


def numbers(of: Any, names: str = "xyzw") -> list[float]:
    values = [getattr(of, name) for name in names]
    assert {type(value) for value in values} == {float}
    return values


def colours(rows: int = ROWS, columns: int = COLUMNS) -> Any:
    """A BGR image (rows, columns, 3) of which no two channels are alike."""
    return np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def image(pixels: Any, encoding: str, padding: int = 0, is_bigendian: bool = False) -> Any:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return message(
        "sensor_msgs/Image",
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(is_bigendian),
        step=padded.shape[1],
        data=array("B", padded.tobytes()),
    )


def gray(conversions: ModuleType, given: Any) -> Any:
    from cv_bridge import CvBridge

    found = conversions.gray_of(given, CvBridge())
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    return found


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 1_700_000_000_123_456_789])
def test_a_stamp_there_and_back(conversions: ModuleType, stamp: int) -> None:
    header = message("std_msgs/Header")
    conversions.set_stamp(header, np.int64(stamp))
    assert (type(header.stamp.sec), type(header.stamp.nanosec)) == (int, int)
    assert conversions.stamp_ns(header) == stamp


def test_a_pose_there_and_back(conversions: ModuleType) -> None:
    for pose in (POSE, POSE.astype(np.float32)):
        made = conversions.pose_message(pose)
        assert numbers(made.position, "xyz") == pytest.approx([1.0, -2.0, 3.5])
        assert np.linalg.norm(numbers(made.orientation)) == pytest.approx(1.0)
    transform = conversions.stamped_transform(POSE, 5_000_000_007, "map", "odom")
    assert (transform.header.frame_id, transform.child_frame_id) == ("map", "odom")
    assert (transform.header.stamp.sec, transform.header.stamp.nanosec) == (5, 7)
    numbers(transform.transform.translation, "xyz")
    numbers(transform.transform.rotation)
    np.testing.assert_allclose(conversions.matrix_of(transform.transform), POSE, atol=1e-12)


def test_a_fix_as_a_message(conversions: ModuleType) -> None:
    covariance = np.arange(36.0).reshape(6, 6).astype(np.float32)
    made = conversions.stamped_pose(Fix(3_000_000_001, POSE, covariance), "map")
    assert made.header.frame_id == "map"
    assert conversions.stamp_ns(made.header) == 3_000_000_001
    assert list(made.pose.covariance) == list(range(36))
    assert {type(value) for value in conversions.covariance_list(covariance)} == {float}


def prior(
    frame: str = "map", pose: FloatArray | None = None, covariance: FloatArray | None = None, **orientation: float
) -> Any:
    claimed = message("geometry_msgs/PoseWithCovarianceStamped")
    claimed.header.frame_id = frame
    position = claimed.pose.pose.position
    position.x, position.y, position.z = map(float, np.zeros(3) if pose is None else pose[:3, 3])
    for name, value in ({"w": 1.0} | orientation).items():
        setattr(claimed.pose.pose.orientation, name, value)
    if covariance is not None:
        claimed.pose.covariance = [float(value) for value in covariance.reshape(-1)]
    return claimed


def test_a_prior(conversions: ModuleType) -> None:
    covariance = np.diag([1, 2, 3, 0.1, 0.2, 0.3]) + 0.01
    claimed = prior(pose=POSE, covariance=covariance)
    claimed.pose.pose = conversions.pose_message(POSE)
    pose, taken = conversions.prior_of(claimed, "map")
    np.testing.assert_allclose(pose, POSE, atol=1e-12)
    np.testing.assert_allclose(taken, covariance)
    # as many tools still write it
    conversions.prior_of(prior("/map"), "map")


def test_a_prior_without_covariance_gets_that_of_rviz(conversions: ModuleType) -> None:
    _, covariance = conversions.prior_of(prior(), "map")
    np.testing.assert_allclose(covariance, np.diag([0.25] * 3 + [0.0685] * 3))
    # RViz leaves the height and two angles at zero
    rviz = np.zeros((6, 6))
    rviz[[0, 1, 5], [0, 1, 5]] = 0.3, 0.4, 0.05
    _, covariance = conversions.prior_of(prior(covariance=rviz), "map")
    np.testing.assert_allclose(np.diag(covariance), [0.3, 0.4, 0.25, 0.0685, 0.0685, 0.05])


def test_a_quaternion_a_little_off_is_normalized(conversions: ModuleType) -> None:
    pose, _ = conversions.prior_of(prior(w=1.005), "map")
    np.testing.assert_allclose(pose, np.eye(4))


@pytest.mark.parametrize("entry", [0, 7, 35])
def test_a_prior_with_a_covariance_that_is_none(conversions: ModuleType, entry: int) -> None:
    for value, said in ((np.nan, "not finite"), (np.inf, "not finite"), (-1.0, "not positive definite")):
        covariance = np.eye(6)
        covariance.reshape(-1)[entry] = value
        with pytest.raises(DataError, match=said):
            conversions.prior_of(prior(covariance=covariance), "map")


def test_a_prior_with_correlations_beyond_one(conversions: ModuleType) -> None:
    covariance = np.eye(6)
    covariance[0, 1] = covariance[1, 0] = 1.5
    with pytest.raises(DataError, match="not positive definite"):
        conversions.prior_of(prior(covariance=covariance), "map")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frame": "odom"}, "in the frame 'odom': give it in 'map'"),
        ({"frame": ""}, "in the frame '': give it in 'map'"),
        ({"w": 0.0}, "the quaternion's norm is 0 instead of 1"),
        ({"x": 1.0}, "the quaternion's norm is 1.41 instead of 1"),
        ({"w": np.nan}, "not finite"),
        ({"pose": make_pose(np.eye(3), np.array([np.nan, 0, 0]))}, "not finite"),
        ({"pose": make_pose(np.eye(3), np.array([0, np.inf, 0]))}, "not finite"),
    ],
)
def test_a_prior_that_is_none(conversions: ModuleType, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        conversions.prior_of(prior(**changes), "map")


def test_an_initial_pose_of_parameters(conversions: ModuleType) -> None:
    made = conversions.initial_pose((1, 2, 3, np.pi / 2), "map")
    pose, covariance = conversions.prior_of(made, "map")
    np.testing.assert_allclose(pose[:3], [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]], atol=1e-12)
    np.testing.assert_allclose(covariance, np.diag([0.25] * 3 + [0.0685] * 3))


def test_a_camera(conversions: ModuleType) -> None:
    info = message("sensor_msgs/CameraInfo", width=640, height=480, distortion_model="plumb_bob")
    with pytest.raises(CalibrationError, match="not calibrated"):
        conversions.camera_of(info)
    info.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    info.d = [0.1, 0.0, 0.0, 0.0, 0.0]
    camera = conversions.camera_of(info)
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_array_equal(camera.matrix, [[500, 0, 320], [0, 510, 240], [0, 0, 1]])
    np.testing.assert_array_equal(camera.distortion, [0.1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "change",
    [{"width": 320}, {"height": 240}, {"distortion_model": "equidistant"}, {"d": [0.1]}, {"k": [501.0, *([0.0] * 8)]}],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_another_camera(conversions: ModuleType, change: dict[str, object]) -> None:
    """Not the stamp; and a single number of an array does."""
    same = {"width": 640, "height": 480, "distortion_model": "plumb_bob", "k": [500.0, *([0.0] * 8)], "d": [np.nan]}
    one, other = (message("sensor_msgs/CameraInfo", **same) for _ in range(2))
    other.header.stamp.sec = 7
    assert conversions.calibration_of(one) == conversions.calibration_of(other)
    changed = message("sensor_msgs/CameraInfo", **(same | change))
    assert conversions.calibration_of(changed) != conversions.calibration_of(one)


# from BGR; None: it is that
COLOURS = {
    "bgr8": None,
    "8UC3": None,
    "rgb8": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGR2BGRA,
    "8UC4": cv2.COLOR_BGR2BGRA,
    "rgba8": cv2.COLOR_BGR2RGBA,
}


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", COLOURS)
def test_colours_become_grey(conversions: ModuleType, encoding: str, padding: int) -> None:
    bgr = colours()
    code = COLOURS[encoding]
    pixels = bgr if code is None else cv2.cvtColor(bgr, code)
    found = gray(conversions, image(pixels, encoding, padding))
    np.testing.assert_array_equal(found, cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_stays_as_it_is(conversions: ModuleType, encoding: str, is_bigendian: bool, padding: int) -> None:
    pixels = colours()[:, :, 0]
    np.testing.assert_array_equal(gray(conversions, image(pixels, encoding, padding, is_bigendian)), pixels)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize("is_bigendian", [False, True])
def test_grey_of_two_bytes(conversions: ModuleType, is_bigendian: bool, padding: int) -> None:
    values = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) * 1300
    pixels = values.astype(">u2" if is_bigendian else "<u2")
    found = gray(conversions, image(pixels, "mono16", padding, is_bigendian))
    np.testing.assert_allclose(found, values / 257, atol=0.51)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(("encoding", "luma_first"), [("yuv422_yuy2", 1), ("yuyv", 1), ("yuv422", 0), ("uyvy", 0)])
def test_luma_of_yuv(conversions: ModuleType, encoding: str, luma_first: int, padding: int) -> None:
    luma = colours()[:, :, 0]
    chroma = np.full_like(luma, 90)
    pixels = np.stack([luma, chroma] if luma_first else [chroma, luma], axis=2)
    np.testing.assert_array_equal(gray(conversions, image(pixels, encoding, padding)), luma)


@pytest.mark.parametrize("padding", [0, 4])
@pytest.mark.parametrize(
    ("encoding", "first_row", "second_row"),
    [
        ("bayer_rggb8", "rg", "gb"),
        ("bayer_bggr8", "bg", "gr"),
        ("bayer_gbrg8", "gb", "rg"),
        ("bayer_grbg8", "gr", "bg"),
    ],
)
def test_a_mosaic_of_one_colour_becomes_its_grey(
    conversions: ModuleType, encoding: str, first_row: str, second_row: str, padding: int
) -> None:
    colour = {"b": 200, "g": 40, "r": 90}
    tile = np.array([[colour[c] for c in first_row], [colour[c] for c in second_row]], np.uint8)
    found = gray(conversions, image(np.tile(tile, (8, 8)), encoding, padding))
    expected = 0.114 * colour["b"] + 0.587 * colour["g"] + 0.299 * colour["r"]
    np.testing.assert_allclose(found, expected, atol=1.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoding": "32FC1"}, "encoding '32FC1' are not understood: mono8,"),
        ({"encoding": ""}, "encoding '' are not understood"),
        ({"width": 0}, "0x6 pixels"),
        ({"height": 0}, "8x0 pixels"),
        ({"step": 7}, "rows of 7 bytes"),
        ({"width": 9}, "rows of 8 bytes"),
        ({"height": 7}, "48 bytes instead of 56"),
        ({"data": array("B")}, "0 bytes instead of 48"),
    ],
)
def test_images_that_are_none(conversions: ModuleType, changes: dict[str, Any], said: str) -> None:
    given = image(colours()[:, :, 0], "mono8")
    for name, value in changes.items():
        setattr(given, name, value)
    with pytest.raises(DataError, match=said):
        gray(conversions, given)


def packed(kind: str, pixels: Any) -> Any:
    ok, data = cv2.imencode(kind, pixels)
    assert ok
    return message("sensor_msgs/CompressedImage", format=kind, data=array("B", data.tobytes()))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png(conversions: ModuleType, channels: int) -> None:
    pixels = np.ascontiguousarray(np.random.default_rng(1).integers(0, 256, (12, 10, channels), dtype=np.uint8))
    expected = pixels[:, :, 0] if channels == 1 else cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_BGR2GRAY)
    np.testing.assert_allclose(gray(conversions, packed(".png", pixels)), expected, atol=1)


def test_a_jpeg_gives_the_pixels_that_mapping_reads(conversions: ModuleType, tmp_path: Any) -> None:
    from neumap.io.images import read_gray

    pixels = cv2.GaussianBlur(colours(48, 64), (0, 0), 3)
    given = packed(".jpg", pixels)
    (tmp_path / "image.jpg").write_bytes(bytes(given.data))
    np.testing.assert_array_equal(gray(conversions, given), read_gray(tmp_path / "image.jpg"))


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0" + bytes(50)])
def test_what_cannot_be_decompressed(conversions: ModuleType, data: bytes) -> None:
    given = message("sensor_msgs/CompressedImage", format="jpeg", data=array("B", data))
    with pytest.raises(DataError, match=f"image of {len(data)} bytes cannot be decoded"):
        gray(conversions, given)
