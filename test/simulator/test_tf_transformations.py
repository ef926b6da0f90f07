"""Rotations and rigid transforms, against SciPy and against what tf_transformations was seen to do."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from neumap_ros.simulator import tf_transformations as tft

AXES = [kind + i + j + k for kind, i, j, k in product("sr", "xyz", "xyz", "xyz") if i != j != k]
ANGLES = (0.3, 0.5, -0.7)
angles = st.tuples(*[st.floats(-math.pi, math.pi)] * 3)


def scipy_axes(axes: str) -> str:
    return axes[1:] if axes[0] == "s" else axes[1:].upper()


@pytest.mark.parametrize("axes", AXES)
def test_euler_angles(axes: str) -> None:
    assert len(AXES) == 24
    expected = Rotation.from_euler(scipy_axes(axes), ANGLES)
    matrix = tft.euler_matrix(*ANGLES, axes=axes)
    assert matrix[:3, :3] == pytest.approx(expected.as_matrix())
    assert tft.quaternion_from_euler(*ANGLES, axes=axes) == pytest.approx(expected.as_quat())
    again = tft.euler_matrix(*tft.euler_from_matrix(matrix, axes), axes=axes)
    assert again == pytest.approx(matrix)
    # The middle angle has one sign where an axis repeats, else all three come back.
    if axes[1] != axes[3]:
        assert tft.euler_from_matrix(matrix, axes) == pytest.approx(ANGLES)


@given(angles)
def test_euler_angles_where_axes_coincide(turns: tuple[float, float, float]) -> None:
    for axes, middle in (("sxyz", math.pi / 2), ("rzyx", -math.pi / 2), ("szxz", 0.0), ("rxyx", math.pi)):
        matrix = tft.euler_matrix(turns[0], middle, turns[2], axes)
        again = tft.euler_matrix(*tft.euler_from_matrix(matrix, axes), axes=axes)
        assert again == pytest.approx(matrix, abs=1e-6)


@pytest.mark.parametrize("axes", ["nope", "sxx", "sxxy", "qxyz", "sxyw", "", "sxyzx"])
def test_unknown_axes(axes: str) -> None:
    with pytest.raises(KeyError):
        tft.quaternion_from_euler(0.1, 0.2, 0.3, axes)


@given(angles)
def test_quaternions_and_matrices(turns: tuple[float, float, float]) -> None:
    rotation = Rotation.from_euler("xyz", turns)
    quaternion = tft.quaternion_from_euler(*turns)
    matrix = tft.quaternion_matrix(quaternion)
    assert matrix[:3, :3] == pytest.approx(rotation.as_matrix(), abs=1e-9)
    back = tft.quaternion_from_matrix(matrix)
    assert back[3] >= 0
    assert abs(np.dot(back, quaternion)) == pytest.approx(1)
    assert tft.quaternion_multiply(quaternion, tft.quaternion_inverse(quaternion)) == pytest.approx((0, 0, 0, 1))


def test_quaternions_that_are_no_rotations() -> None:
    assert tft.quaternion_matrix([0, 0, 2, 2])[:2, :2] == pytest.approx(np.array([[0, -1], [1, 0]]))
    assert (tft.quaternion_matrix([0, 0, 0, 0]) == np.eye(4)).all()
    assert tft.quaternion_inverse([0, 0, 2, 2]) == (0, 0, -0.25, 0.25)
    with pytest.raises(ValueError, match="4x4"):
        tft.quaternion_from_matrix(np.eye(3))


def test_products_go_from_right_to_left() -> None:
    a, b = tft.quaternion_from_euler(0.1, 0, 0), tft.quaternion_from_euler(0, 0, 0.3)
    assert tft.quaternion_multiply(a, b) == pytest.approx([0.049417957, -0.007468794, 0.149251374, 0.987535372])


def test_slerp() -> None:
    a, b = [0.0, 0.0, 0.0, 1.0], np.array(tft.quaternion_from_euler(0, 0, 1.0))
    for end in (b, -b):
        halfway = tft.quaternion_slerp(a, end, 0.5)
        assert halfway == pytest.approx([0, 0, 0.247403959, 0.968912422])
    assert tft.quaternion_slerp(a, a, 0.5) == pytest.approx(a)


def test_matrices() -> None:
    moved = tft.concatenate_matrices(tft.translation_matrix([1, 2, 3]), tft.euler_matrix(0, 0, 0.5))
    assert tft.translation_from_matrix(moved).tolist() == [1, 2, 3]
    assert tft.inverse_matrix(moved) @ moved == pytest.approx(np.eye(4))
    assert tft.rotation_matrix(0.5, [0, 0, 2], [1, 0, 0]) @ [1, 0, 5, 1] == pytest.approx([1, 0, 5, 1])
    assert tft.unit_vector([3, 0, 4]) == pytest.approx([0.6, 0, 0.8])
    assert tft.vector_norm([3, 4]) == 5


def test_composing_and_decomposing() -> None:
    parts = {"scale": (1.0, 2.0, 3.0), "shear": (0.1, 0.2, 0.3), "angles": ANGLES, "translate": (4.0, 5.0, 6.0)}
    scale, shear, turns, translation, perspective = tft.decompose_matrix(tft.compose_matrix(**parts))
    assert list(scale) == pytest.approx(parts["scale"])
    assert shear == pytest.approx(parts["shear"])
    assert turns == pytest.approx(parts["angles"])
    assert list(translation) == pytest.approx(parts["translate"])
    assert list(perspective) == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="singular"):
        tft.decompose_matrix(np.diag([1, 1, 0, 1]))
