"""Pixels to rays and back through the three lens models, rescaling, and every calibration that is refused."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neumap.arrays import FloatArray
from neumap.errors import CalibrationError
from neumap.geometry.cameras import make_camera, normalize, project, scaled_to
from neumap.records import Camera

# a real lens of strong distortion: the first Kinect of the TUM RGB-D benchmark
K = [517.3, 0.0, 318.6, 0.0, 516.5, 255.3, 0.0, 0.0, 1.0]
PLUMB_BOB = [0.2624, -0.9531, -0.0054, 0.0026, 1.1633]

CAMERAS = {
    "plumb_bob": make_camera(640, 480, K, "plumb_bob", PLUMB_BOB),
    "pinhole": make_camera(640, 480, K),
    "rational_polynomial": make_camera(
        640, 480, K, "rational_polynomial", [4.2, 1.9, 0.0004, -0.0002, 0.06, 4.5, 3.2, 0.4]
    ),
    "thin prism and tilt": make_camera(
        640,
        480,
        K,
        "rational_polynomial",
        [0.1, -0.05, 0.001, -0.002, 0.01, 0.05, 0.02, 0.0, 0.004, -0.002, 0.003, 0.001, 0.02, -0.03],
    ),
    "equidistant": make_camera(
        640, 480, [285.0, 0, 320, 0, 286.0, 240, 0, 0, 1], "equidistant", [-0.006, 0.04, -0.04, 0.008]
    ),
    "equidistant without distortion": make_camera(640, 480, [285.0, 0, 320, 0, 286.0, 240, 0, 0, 1], "equidistant"),
}

each_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())


def pixels_in(camera: Camera) -> st.SearchStrategy[FloatArray]:
    pixel = st.tuples(st.floats(-0.5, camera.width - 0.5), st.floats(-0.5, camera.height - 0.5))
    return st.lists(pixel, min_size=1, max_size=8).map(lambda values: np.array(values))


def homogeneous(xy: FloatArray) -> FloatArray:
    return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)


@each_camera
@given(data=st.data())
def test_a_pixel_comes_back_from_its_ray(camera: Camera, data: st.DataObject) -> None:
    pixels = data.draw(pixels_in(camera))
    rays = normalize(camera, pixels)
    assert rays.shape == pixels.shape
    assert rays.dtype == np.float64
    np.testing.assert_allclose(project(camera, homogeneous(rays)), pixels, atol=1e-3)


@each_camera
@given(data=st.data())
def test_a_point_in_view_comes_back_from_its_pixel(camera: Camera, data: st.DataObject) -> None:
    rays = normalize(camera, data.draw(pixels_in(camera)))
    depth = data.draw(st.floats(0.1, 50))
    pixels = project(camera, depth * homogeneous(rays))
    np.testing.assert_allclose(normalize(camera, pixels), rays, atol=1e-5)


@each_camera
def test_every_pixel_of_the_image_has_a_ray(camera: Camera) -> None:
    u, v = np.meshgrid(np.arange(0, camera.width, 8.0), np.arange(0, camera.height, 8.0))
    pixels = np.stack([u.ravel(), v.ravel()], axis=1)
    rays = normalize(camera, pixels)
    assert np.isfinite(rays).all()
    np.testing.assert_allclose(project(camera, homogeneous(rays)), pixels, atol=1e-3)


def test_the_pinhole_formula() -> None:
    camera = CAMERAS["pinhole"]
    np.testing.assert_allclose(
        normalize(camera, np.array([[318.6, 255.3], [318.6 + 517.3, 255.3 - 516.5]])), [[0, 0], [1, -1]]
    )
    np.testing.assert_allclose(project(camera, np.array([[0.0, 0, 2], [2, -2, 2]])), [[318.6, 255.3], [835.9, -261.2]])


def test_the_plumb_bob_formula() -> None:
    """As REP-104 and the benchmark's authors define it, written out for one point."""
    x, y = 0.5, -0.4
    k1, k2, p1, p2, k3 = PLUMB_BOB
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    expected = [[517.3 * xd + 318.6, 516.5 * yd + 255.3]]
    np.testing.assert_allclose(project(CAMERAS["plumb_bob"], np.array([[3 * x, 3 * y, 3.0]])), expected)


def test_the_equidistant_formula() -> None:
    angle = np.radians(60)
    pixel = project(CAMERAS["equidistant without distortion"], np.array([[np.sin(angle), 0, np.cos(angle)]]))
    np.testing.assert_allclose(pixel, [[320 + 285 * angle, 240]])


@each_camera
def test_points_behind_the_camera_have_no_pixel(camera: Camera) -> None:
    points = np.array([[0.0, 0, 1], [0, 0, 0], [0, 0, -1], [0.1, 0.1, -2], [np.nan, 0, 1]])
    finite = np.isfinite(project(camera, points)).all(axis=1)
    assert finite.tolist() == [True, False, False, False, False]


@each_camera
def test_nothing_in_nothing_out(camera: Camera) -> None:
    assert normalize(camera, np.zeros((0, 2))).shape == (0, 2)
    assert project(camera, np.zeros((0, 3))).shape == (0, 2)


def test_pixels_beyond_the_lens_have_no_ray() -> None:
    # radius (1 - 0.4 r^2) r grows only up to r = 0.913, where it is 0.609: no ray ends at 0.9
    barrel = make_camera(640, 480, K, "plumb_bob", [-0.4, 0, 0, 0, 0])
    rays = normalize(barrel, np.array([[318.6 + 0.3 * 517.3, 255.3], [318.6 + 0.9 * 517.3, 255.3]]))
    assert np.isfinite(rays[0]).all()
    assert np.isnan(rays[1]).all()
    # 90 degrees and more from the axis
    fisheye = CAMERAS["equidistant without distortion"]
    assert np.isnan(normalize(fisheye, np.array([[320 + 285 * np.radians(95), 240]]))).all()


@each_camera
def test_a_pixel_that_is_not_a_number_has_no_ray(camera: Camera) -> None:
    rays = normalize(camera, np.array([[np.nan, 10.0], [320.0, 240.0]]))
    assert np.isnan(rays[0]).any()
    assert np.isfinite(rays[1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_float_and_any_layout_goes(dtype: npt.DTypeLike) -> None:
    camera = CAMERAS["plumb_bob"]
    wide = np.array([[10, 20, 1], [300, 200, 2]], dtype=dtype)
    np.testing.assert_allclose(normalize(camera, wide[:, :2]), normalize(camera, np.ascontiguousarray(wide[:, :2])))


@each_camera
@given(factor=st.sampled_from([0.25, 0.5, 2.0, 3.0]), data=st.data())
def test_a_resized_image_sees_the_same_rays(camera: Camera, factor: float, data: st.DataObject) -> None:
    resized = scaled_to(camera, int(camera.width * factor), int(camera.height * factor))
    pixels = data.draw(pixels_in(camera))
    # pixel centres are at integers, so it is the image's corner at (-0.5, -0.5) that stays
    there = (pixels + 0.5) * factor - 0.5
    np.testing.assert_allclose(normalize(resized, there), normalize(camera, pixels), atol=1e-5)


@given(
    size=st.tuples(st.integers(32, 4000), st.integers(32, 4000)),
    factor=st.floats(0.1, 4),
    down=st.booleans(),
)
def test_rounding_to_whole_pixels_is_no_other_shape(size: tuple[int, int], factor: float, down: bool) -> None:
    width, height = (int(side * factor) if down else round(side * factor) for side in size)
    assume(min(width, height) >= 8)
    resized = scaled_to(make_camera(*size, K), width, height)
    assert (resized.width, resized.height) == (width, height)
    assert not resized.matrix.flags.writeable


def test_the_same_size_is_the_same_camera() -> None:
    camera = CAMERAS["plumb_bob"]
    assert scaled_to(camera, 640, 480) is camera


@pytest.mark.parametrize("size", [(640, 360), (480, 640), (640, 470), (1280, 720), (0, 0), (-640, -480)])
def test_a_cropped_image_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CalibrationError, match=f"{size[0]}x{size[1]}"):
        scaled_to(CAMERAS["plumb_bob"], *size)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0}, "size is 0x480"),
        ({"height": -1}, "size is 640x-1"),
        ({"matrix": K[:6]}, "6 values instead of 9"),
        ({"matrix": [np.nan, *K[1:]]}, "not finite"),
        ({"distortion": [np.inf, 0, 0, 0, 0]}, "not finite"),
        ({"matrix": [0.0] * 9}, "not calibrated"),
        ({"matrix": [-517.3, *K[1:]]}, "not calibrated"),
        ({"matrix": [*K[:4], 0.0, *K[5:]]}, "not calibrated"),
        ({"matrix": [K[0], 2.0, *K[2:]]}, "fx 0 cx 0 fy cy 0 0 1"),
        ({"matrix": [*K[:8], 0.0]}, "fx 0 cx 0 fy cy 0 0 1"),
        ({"matrix": np.reshape(K, (3, 3)).T}, "fx 0 cx 0 fy cy 0 0 1"),
        ({"distortion_model": "double_sphere"}, "double_sphere"),
        ({"distortion": [*PLUMB_BOB, *([0.1] * 10)]}, "takes 14 coefficients, the calibration has 15"),
        ({"distortion_model": "equidistant", "distortion": PLUMB_BOB}, "takes 4 coefficients, the calibration has 5"),
    ],
)
def test_what_is_refused(changed: dict[str, object], message: str) -> None:
    arguments = {"width": 640, "height": 480, "matrix": K, "distortion_model": "plumb_bob", "distortion": PLUMB_BOB}
    with pytest.raises(CalibrationError, match=message):
        make_camera(**{**arguments, **changed})  # type: ignore[arg-type]


def test_what_is_forgiven() -> None:
    """Drivers leave the model of an undistorted image empty, leave out zeros, or send some too many."""
    assert make_camera(640, 480, K, "").distortion_model == "plumb_bob"
    assert make_camera(640, 480, K, "plumb_bob", [0.1, 0.2]).distortion.tolist() == [0.1, 0.2, 0, 0, 0]
    assert make_camera(640, 480, K, "rational_polynomial", [0.1] * 8 + [0.0] * 6).distortion.tolist() == [0.1] * 8
    assert make_camera(640, 480, np.reshape(K, (3, 3))).matrix.shape == (3, 3)


def test_a_camera_keeps_its_own_copy() -> None:
    matrix, distortion = np.array(K), np.array(PLUMB_BOB)
    camera = make_camera(640, 480, matrix, "plumb_bob", distortion)
    matrix[:], distortion[:] = 1.0, 1.0
    assert camera.matrix[0, 0] == 517.3
    assert camera.distortion[0] == 0.2624
    with pytest.raises(ValueError, match="read-only"):
        camera.matrix[0, 0] = 1.0


@given(arrays(np.float64, (4, 2), elements=st.floats(-1e5, 1e5)))
def test_a_ray_is_never_wrong_however_far_the_pixel(pixels: FloatArray) -> None:
    for camera in CAMERAS.values():
        rays = normalize(camera, pixels)
        known = np.isfinite(rays).all(axis=1)
        np.testing.assert_allclose(project(camera, homogeneous(rays[known])), pixels[known], atol=0.5)
