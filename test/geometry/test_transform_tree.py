"""The tree answers, and refuses, as the real tf2 of ROS 2 Jazzy was recorded to; `tf2_answers.json` has its answers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neumap.geometry.se3 import make_pose, matrix_from_quat, quat_from_matrix, rotation_exp
from neumap.geometry.transform_tree import LATEST, TransformError, TransformTree

ANSWERS = json.loads((Path(__file__).parent / "tf2_answers.json").read_text())
NAN = math.nan
Transform = tuple[str, str, int, tuple[float, ...], tuple[float, ...]]


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def tf(
    parent: str, child: str, seconds: float, x: float = 0, y: float = 0, z: float = 0, yaw: float = 0, q: Any = None
) -> Transform:
    turn = q or (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return parent, child, ns(seconds), (x, y, z), turn


def tree(*moving: Transform, static: Iterable[Transform] = (), cache_s: float = 10) -> TransformTree:
    filled = TransformTree(ns(cache_s))
    for transform in moving:
        filled.add(*transform)
    for transform in static:
        filled.add(*transform, static=True)
    return filled


def look(filled: TransformTree, target: str, source: str, seconds: float = 0) -> Any:
    """x y z qx qy qz qw, or what is said instead."""
    try:
        pose = filled.lookup(target, source, ns(seconds))
    except TransformError as error:
        return str(error)
    assert pose.shape == (4, 4)
    return [*pose[:3, 3], *quat_from_matrix(pose[:3, :3])]


TWO = (tf("map", "cam", 1.0), tf("map", "cam", 2.0, x=1.0, yaw=math.pi / 2))
MOUNTED = (tf("base", "cam", 5.0, z=0.5),)


def looks(filled: TransformTree, target: str, source: str, *seconds: float) -> list[Any]:
    return [look(filled, target, source, when) for when in seconds]


def refused(transform: Transform) -> list[Any]:
    """What adding a transform to an empty tree says to a caller of tf2 (nothing), and what it answers then."""
    return [None, look(tree(transform), "a", "b")]


def cache_time_default() -> list[Any]:
    filled = tree(tf("map", "cam", 1.0), tf("map", "cam", 2.0), tf("map", "cam", 11.5))
    after_gap = look(filled, "map", "cam", 1.0)
    filled.add(*tf("map", "cam", 11.6))
    return [after_gap, *looks(filled, "map", "cam", 1.0, 1.9, 2.0)]


def clear() -> list[Any]:
    filled = tree(*TWO, static=[tf("cam", "lens", 0.0)])
    filled.clear()
    return [look(filled, "map", "cam"), look(filled, "cam", "lens")]


def non_normalised() -> list[Any]:
    def q(yaw: float, norm: float) -> tuple[float, ...]:
        return (0.0, 0.0, norm * math.sin(yaw / 2), norm * math.cos(yaw / 2))

    filled = tree(tf("a", "b", 1.0, x=1.0, q=q(1.0, 2.0)), tf("a", "b", 2.0, x=1.0, q=q(2.0, 0.5)))
    return [look(filled, "a", "b", 1.0), look(filled, "b", "a", 1.0), look(filled, "a", "b", 1.5)]


def child_gets_a_new_parent() -> list[Any]:
    filled = tree(tf("map", "cam", 1.0, x=1.0), tf("odom", "cam", 2.0, x=2.0))
    return [look(filled, "odom", "cam", 2.0), *looks(filled, "map", "cam", 1.0, 1.5), look(filled, "odom", "cam")]


def unknown_frames() -> list[Any]:
    return [look(tree(*TWO), "map", "nope"), look(tree(*TWO), "nope", "cam"), look(tree(), "a", "b")]


# the calls of the recorded probes
PROBES: dict[str, Callable[[], Any]] = {
    "direction": lambda: [
        look(tree(tf("map", "cam", 1.0, x=1.0, yaw=math.pi / 2)), *pair, 1.0)
        for pair in (("map", "cam"), ("cam", "map"))
    ],
    "exact_times": lambda: looks(tree(*TWO), "map", "cam", 1.0, 2.0),
    "interpolation": lambda: looks(tree(*TWO), "map", "cam", 1.25, 1.5, 1.000000001),
    "interpolation_takes_the_short_way": lambda: look(
        tree(tf("map", "cam", 1.0), tf("map", "cam", 2.0, q=(0, 0, -math.sin(0.5), -math.cos(0.5)))), "map", "cam", 1.5
    ),
    "time_zero_is_latest": lambda: looks(tree(*TWO), "map", "cam", 0, 0),
    "latest_of_a_chain_is_the_latest_common_time": lambda: look(
        tree(
            *(tf("map", "odom", 1.0), tf("map", "odom", 2.0, x=1.0)),
            *(tf("odom", "base", 1.0), tf("odom", "base", 5.0, y=4.0)),
        ),
        *("map", "base"),
    ),
    "latest_of_a_chain_without_common_time": lambda: [
        look(tree(tf("map", "odom", 1.0), tf("odom", "base", 5.0), tf("odom", "base", 6.0)), "map", "base")
    ],
    "extrapolation_into_the_future": lambda: looks(tree(*TWO), "map", "cam", 2.5, 2.000000001),
    "extrapolation_into_the_past": lambda: look(tree(*TWO), "map", "cam", 0.5),
    "one_sample_only": lambda: looks(tree(tf("map", "cam", 1.0, x=3.0)), "map", "cam", 1.0, 0, 2.0, 0.5),
    "unknown_frames": unknown_frames,
    "disconnected_trees": lambda: looks(tree(tf("map", "cam", 1.0), tf("world", "robot", 1.0)), "map", "robot", 0, 1.0),
    "same_frame": lambda: [*looks(tree(*TWO), "cam", "cam", 1.5, 99, 0), look(tree(*TWO), "nope", "nope")],
    "leading_slash": lambda: [
        look(tree(tf("/map", "/cam", 1.0)), "map", "cam"),
        look(tree(tf("/map", "/cam", 1.0)), "/map", "cam"),
    ],
    "empty_frame_names": lambda: [look(tree(*TWO), "", "cam"), look(tree(*TWO), "map", "")],
    "chain": lambda: [
        look(
            tree(
                *(tf("map", "odom", 1.0, x=1.0, yaw=math.pi / 2), tf("odom", "base", 1.0, x=2.0)),
                static=[tf("base", "cam", 0.0, z=0.5)],
            ),
            *(*pair, 1.0),
        )
        for pair in (("map", "cam"), ("cam", "map"))
    ],
    "static_is_valid_at_any_time": lambda: looks(tree(static=MOUNTED), "base", "cam", 0.001, 5.0, 1e9, 0),
    "static_replaced": lambda: look(tree(static=[*MOUNTED, tf("base", "cam", 1.0, z=0.75)]), "base", "cam"),
    "dynamic_then_static_of_the_same_child": lambda: looks(
        tree(tf("base", "cam", 1.0, z=0.5), static=[tf("base", "cam", 2.0, z=0.75)]), "base", "cam", 2.0, 50.0
    ),
    "out_of_order_insertion": lambda: look(tree(*reversed(TWO)), "map", "cam", 1.5),
    "same_stamp_twice": lambda: looks(
        tree(tf("map", "cam", 1.0, x=1.0), tf("map", "cam", 1.0, x=2.0)), "map", "cam", 1.0, 0
    ),
    "child_gets_a_new_parent": child_gets_a_new_parent,
    "cache_time_default": cache_time_default,
    "cache_time_boundary": lambda: look(tree(*(tf("map", "cam", s) for s in (1.0, 11.0, 11.0))), "map", "cam", 1.0),
    "cache_time_set": lambda: looks(
        tree(*(tf("map", "cam", s) for s in (1.0, 2.0, 3.5, 3.6)), cache_s=2), "map", "cam", 1.5, 2.5
    ),
    "old_data_is_ignored": lambda: [
        None,
        look(tree(tf("map", "cam", 100.0), tf("map", "cam", 5.0)), "map", "cam", 5.0),
    ],
    "time_going_back_keeps_old_data": lambda: looks(
        tree(tf("map", "cam", 1000.0, x=9.0), tf("map", "cam", 1.0, x=1.0)), "map", "cam", 0, 1.0
    ),
    "clear": clear,
    "rejected_transforms": lambda: {
        "parent == child": refused(tf("a", "a", 1.0)),
        "empty parent": refused(tf("", "b", 1.0)),
        "empty child": refused(tf("a", "", 1.0)),
        "nan translation": refused(tf("a", "b", 1.0, x=NAN)),
        "nan rotation": refused(tf("a", "b", 1.0, q=(NAN, 0, 0, 1))),
        "zero quaternion": refused(tf("a", "b", 1.0, q=(0, 0, 0, 0))),
        "norm 1.05": refused(tf("a", "b", 1.0, q=(0, 0, 0, 1.05))),
        "norm 1.0004": refused(tf("a", "b", 1.0, q=(0, 0, 0, 1.0004))),
        "norm 2": refused(tf("a", "b", 1.0, q=(0, 0, 0, 2))),
        "stamp zero": refused(tf("a", "b", 0.0, x=1.0)),
    },
    "non_normalised_quaternion_comes_back": non_normalised,
    "stamp_zero_dynamic": lambda: looks(tree(tf("a", "b", 0, x=1.0), tf("a", "b", 1.0, x=2.0)), "a", "b", 0, 0.5),
    "loop": lambda: look(tree(tf("a", "b", 1.0), tf("b", "c", 1.0), tf("c", "a", 1.0), tf("x", "y", 1.0)), "x", "a"),
}


def assert_same(recorded: Any, answer: Any) -> None:
    """Numbers within their rounding, a quaternion up to its sign; texts letter by letter, where they were recorded."""
    if isinstance(recorded, dict) and "raises" in recorded:
        assert isinstance(answer, str)
    elif isinstance(recorded, dict):
        assert recorded.keys() == answer.keys()
        for name in recorded:
            assert_same(recorded[name], answer[name])
    elif isinstance(recorded, list) and isinstance(recorded[0], str):
        assert answer == recorded[1]
    elif isinstance(recorded, list) and isinstance(recorded[0], float):
        sign = 1 if np.dot(recorded[3:7], answer[3:]) > 0 else -1
        # the stamp behind the numbers is that of the message, which a pose has none of
        assert [*answer[:3], *(sign * v for v in answer[3:])] == pytest.approx(recorded[:7], abs=2e-9)
    elif isinstance(recorded, list):
        # an answer of can_transform after those of lookups says nothing new
        for each, mine in zip(recorded, answer, strict=False):
            assert_same(each, mine)
    else:
        assert answer == recorded


@pytest.mark.parametrize("name", PROBES)
def test_as_tf2_was_recorded(name: str) -> None:
    answer = PROBES[name]()
    assert answer
    assert_same(ANSWERS[name], answer)


def test_all_recorded_answers_are_looked_at() -> None:
    assert ANSWERS.keys() == PROBES.keys()


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (tf("a", "/a", 1.0), 'TF_SELF_TRANSFORM: .* "a" because they are the same'),
        (tf("/", "b", 1.0), "TF_NO_FRAME_ID: "),
        (tf("a", "", 1.0), "TF_NO_CHILD_FRAME_ID: "),
        (tf("a", "b", 1.0, x=NAN), 'TF_NAN_INPUT: .* "b" because of a nan value'),
        (tf("a", "b", 1.0, y=math.inf), "TF_NAN_INPUT: "),
        (tf("a", "b", 1.0, q=(0, math.inf, 0, 1)), "TF_NAN_INPUT: "),
        (tf("a", "b", 1.0, q=(1e200, 0, 0, 1)), "TF_NAN_INPUT: "),
        (tf("a", "b", 1.0, q=(1e-200, 0, 0, 0)), "TF_DENORMALIZED_QUATERNION: .* an invalid quaternion"),
    ],
)
def test_what_is_skipped_is_told_and_counted(transform: Transform, said: str) -> None:
    filled = TransformTree()
    texts = {filled.add(*transform) for _ in range(3)}
    (text,) = texts
    assert re.match(said, text)
    assert filled.skipped == {text: 3}
    assert filled.frames == ()
    assert filled.add(*tf("a", "b", 1.0)) == ""
    assert filled.add(*tf("a", "b", -20.0)) == "TF_OLD_DATA ignoring data from the past for frame b"
    assert filled.skipped.total() == 4


def test_siblings_meet_in_their_common_parent() -> None:
    filled = tree(tf("base", "left", 1.0, y=1.0), tf("base", "right", 2.0, y=-1.0), tf("base", "right", 1.0, y=-3.0))
    assert look(filled, "left", "right") == pytest.approx([0, -4, 0, 0, 0, 0, 1])
    assert filled.latest_common("left", "right") == ns(1.0)
    assert filled.frames == ("base", "left", "right")


def test_latest_common_times() -> None:
    filled = tree(*TWO, static=[tf("cam", "lens", 3.0)])
    assert filled.latest_common("map", "lens") == ns(2.0)
    assert filled.latest_common("lens", "cam") == LATEST
    with pytest.raises(TransformError, match='"no" passed to get_latest_common_time does not exist'):
        filled.latest_common("map", "no")


def test_after_a_clear_there_is_no_connection_at_any_time() -> None:
    filled = tree(*TWO)
    filled.clear()
    assert "not part of the same tree" in look(filled, "map", "cam", 1.5)
    filled.add(*tf("map", "cam", 0.5, x=3.0))
    assert look(filled, "map", "cam", 0.5)[0] == 3.0


def test_a_recording_keeps_everything() -> None:
    filled = TransformTree(cache_ns=None)
    for seconds in (0.0, 1e6, 5e5, 1.0):
        assert filled.add(*tf("map", "cam", seconds, x=seconds)) == ""
    assert look(filled, "map", "cam", 2.0)[0] == pytest.approx(2.0)
    # a static transform that comes again does not take the place of what moves
    assert filled.add(*tf("map", "cam", 0.0), static=True) == ""
    assert look(filled, "map", "cam", 1e6)[0] == pytest.approx(1e6)


coordinates = st.floats(-10, 10)
poses = st.tuples(st.tuples(coordinates, coordinates, coordinates), st.tuples(*[st.floats(0.1, 1)] * 4))


@given(st.lists(poses, min_size=4, max_size=4))
def test_there_and_back_is_the_identity(chain: list[Any]) -> None:
    filled = TransformTree()
    for (parent, child), (xyz, quaternion) in zip(("ab", "bc", "ad", "de"), chain, strict=True):
        assert filled.add(parent, child, 5, xyz, np.array(quaternion)) == ""
    there, back = filled.lookup("c", "e", 5), filled.lookup("e", "c", 5)
    np.testing.assert_allclose(there @ back, np.eye(4), atol=1e-9)
    a_from_b, b_from_c, a_from_d, d_from_e = (
        make_pose(matrix_from_quat(np.array(q)), np.array(xyz)) for xyz, q in chain
    )
    np.testing.assert_allclose(a_from_b @ b_from_c @ there, a_from_d @ d_from_e, atol=1e-9)


def test_what_was_answered_can_be_changed_by_the_caller() -> None:
    filled = tree(static=MOUNTED)
    filled.lookup("base", "cam")[:] = 0
    filled.lookup("cam", "cam")[:] = 0
    np.testing.assert_array_equal(filled.lookup("base", "cam"), make_pose(rotation_exp(np.zeros(3)), [0, 0, 0.5]))
