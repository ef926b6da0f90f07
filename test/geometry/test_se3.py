"""Properties of rotations and poses; angles near 0 and pi, where formulas lose their digits, are drawn on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from neumap.arrays import FloatArray
from neumap.geometry import se3 as g

TINY = 1e-9


@st.composite
def unit_vectors(draw: st.DrawFn) -> FloatArray:
    v = draw(arrays(np.float64, 3, elements=st.floats(-1, 1)))
    norm = np.linalg.norm(v)
    return v / norm if norm > 1e-3 else np.array([0.0, 0.0, 1.0])


def angles() -> st.SearchStrategy[float]:
    near_zero = st.floats(0, 1e-6)
    near_pi = near_zero.map(lambda x: np.pi - x)
    return st.one_of(st.floats(0, np.pi), near_zero, near_pi, st.sampled_from([0.0, 1e-300, 1e-12, np.pi / 2, np.pi]))


@st.composite
def rotation_vectors(draw: st.DrawFn) -> FloatArray:
    return np.asarray(draw(angles()) * draw(unit_vectors()))


def points(count: int | None = None) -> st.SearchStrategy[FloatArray]:
    shape = (3,) if count is None else (count, 3)
    return arrays(np.float64, shape, elements=st.floats(-100, 100))


@st.composite
def poses(draw: st.DrawFn) -> FloatArray:
    return g.make_pose(g.rotation_exp(draw(rotation_vectors())), draw(points()))


@given(points(), points())
def test_skew_is_the_cross_product(a: FloatArray, b: FloatArray) -> None:
    np.testing.assert_allclose(g.skew(a) @ b, np.cross(a, b), atol=TINY)


@given(rotation_vectors())
def test_exp_is_a_rotation(w: FloatArray) -> None:
    r = g.rotation_exp(w)
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(r) == pytest.approx(1)
    np.testing.assert_allclose(r @ w, w, atol=1e-14)


@given(rotation_vectors())
@example(np.array([1e-200, 0, 0]))
@example(np.array([np.pi, 0, 0]))
def test_log_undoes_exp(w: FloatArray) -> None:
    back = g.rotation_log(g.rotation_exp(w))
    angle = np.linalg.norm(w)
    assert np.linalg.norm(back) <= np.pi + TINY
    if np.pi - angle > 1e-7:
        np.testing.assert_allclose(back, w, atol=TINY)
    else:  # w and its opposite are the same rotation at pi
        assert min(np.abs(back - w).max(), np.abs(back + w).max()) < 1e-6


@given(st.floats(1e-15, 1e-3), unit_vectors())
def test_small_angles_keep_their_relative_precision(angle: float, axis: FloatArray) -> None:
    back = g.rotation_log(g.rotation_exp(angle * axis))
    np.testing.assert_allclose(back, angle * axis, atol=angle * 1e-12)


@given(rotation_vectors())
def test_exp_undoes_log(w: FloatArray) -> None:
    r = g.rotation_exp(w)
    np.testing.assert_allclose(g.rotation_exp(g.rotation_log(r)), r, atol=1e-12)


@given(rotation_vectors())
def test_quaternion_round_trip(w: FloatArray) -> None:
    r = g.rotation_exp(w)
    q = g.quat_from_matrix(r)
    assert np.linalg.norm(q) == pytest.approx(1)
    np.testing.assert_allclose(g.matrix_from_quat(q), r, atol=1e-12)
    np.testing.assert_allclose(g.matrix_from_quat(-3.7 * q), r, atol=1e-12)


@given(rotation_vectors())
def test_quaternion_is_half_the_angle_about_the_axis_in_xyzw(w: FloatArray) -> None:
    half = np.linalg.norm(w) / 2
    q = np.append(np.sinc(half / np.pi) / 2 * w, np.cos(half))
    np.testing.assert_allclose(g.matrix_from_quat(q), g.rotation_exp(w), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_about_the_axes(axis: int) -> None:
    q = np.zeros(4)
    q[axis] = 1.0
    r = -np.eye(3)
    r[axis, axis] = 1.0
    np.testing.assert_array_equal(g.matrix_from_quat(q), r)
    np.testing.assert_array_equal(np.abs(g.quat_from_matrix(r)), q)
    np.testing.assert_allclose(np.abs(g.rotation_log(r)), np.pi * q[:3])


@given(poses(), points(5))
def test_inverse_pose_takes_points_back(pose: FloatArray, p: FloatArray) -> None:
    np.testing.assert_allclose(g.invert_pose(pose) @ pose, np.eye(4), atol=1e-11)
    np.testing.assert_allclose(g.transform_points(g.invert_pose(pose), g.transform_points(pose, p)), p, atol=1e-10)


@given(poses(), points(4))
def test_transform_points_is_the_homogeneous_product(pose: FloatArray, p: FloatArray) -> None:
    expected = (pose @ np.concatenate([p, np.ones((4, 1))], axis=1).T).T[:, :3]
    np.testing.assert_allclose(g.transform_points(pose, p), expected, atol=TINY)


@given(poses(), rotation_vectors(), points())
def test_pose_error_turns_the_truth_into_the_estimate_about_the_maps_axes(
    truth: FloatArray, w: FloatArray, shift: FloatArray
) -> None:
    turn = g.rotation_exp(w)
    estimate = g.make_pose(turn @ truth[:3, :3], truth[:3, 3] + shift)
    error = g.pose_error(estimate, truth)
    np.testing.assert_allclose(error[:3], shift, atol=TINY)
    np.testing.assert_allclose(g.rotation_exp(error[3:]) @ truth[:3, :3], estimate[:3, :3], atol=1e-11)
    if np.pi - np.linalg.norm(w) > 1e-6:
        np.testing.assert_allclose(error[3:], w, atol=1e-8)


def test_pose_error_of_a_turn_about_the_maps_z_axis() -> None:
    """A camera that looks along the map's x axis: its own z axis is not the map's, and only the latter may show."""
    map_from_optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    truth = g.make_pose(map_from_optical, np.zeros(3))
    yaw = g.rotation_exp(np.array([0.0, 0.0, 0.1]))
    estimate = g.make_pose(yaw @ map_from_optical, np.array([0.0, 0.0, 0.2]))
    np.testing.assert_allclose(g.pose_error(estimate, truth), [0, 0, 0.2, 0, 0, 0.1], atol=1e-12)


@given(arrays(np.float64, (2, 3, 3), elements=st.floats(-1, 1)), points(3))
def test_batches_are_the_single_results_stacked(w: FloatArray, t: FloatArray) -> None:
    r = g.rotation_exp(w)
    assert r.shape == (2, 3, 3, 3)
    translation = np.broadcast_to(t, (2, 3, 3))
    pose = g.make_pose(r, translation)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(r[i, j], g.rotation_exp(w[i, j]), atol=1e-15)
        np.testing.assert_allclose(g.rotation_log(r)[i, j], g.rotation_log(r[i, j]), atol=1e-15)
        np.testing.assert_allclose(g.quat_from_matrix(r)[i, j], g.quat_from_matrix(r[i, j]), atol=1e-15)
        np.testing.assert_allclose(g.invert_pose(pose)[i, j], g.invert_pose(pose[i, j]), atol=1e-12)
        np.testing.assert_allclose(g.pose_error(pose, pose[0, 0])[i, j], g.pose_error(pose[i, j], pose[0, 0]))
