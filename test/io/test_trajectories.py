from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neumap.arrays import FloatArray
from neumap.errors import DataError
from neumap.geometry.se3 import make_pose, pose_error, rotation_exp
from neumap.io.trajectories import poses_at, read_trajectory, spacing_of, write_trajectory
from neumap.records import Trajectory

MS = 1_000_000
coordinate = st.floats(-100, 100)
vector = st.tuples(coordinate, coordinate, coordinate).map(np.array)


def trajectory(stamps_ns: list[int], seed: int = 0) -> Trajectory:
    rng = np.random.default_rng(seed)
    n = len(stamps_ns)
    poses = make_pose(rotation_exp(rng.normal(size=(n, 3))), rng.normal(size=(n, 3)))
    return Trajectory(np.array(stamps_ns, dtype=np.int64), poses)


def pose(rotation_vector: FloatArray, translation: FloatArray) -> FloatArray:
    return make_pose(rotation_exp(rotation_vector), translation)


@given(st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=20, unique=True), st.integers(0, 2**32 - 1))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, stamps: list[int], seed: int) -> None:
    file = tmp_path_factory.mktemp("round_trip") / "poses.txt"
    written = trajectory(sorted(stamps), seed)
    write_trajectory(file, written)
    read = read_trajectory(file)
    assert read.stamps_ns.dtype == np.int64
    assert read.stamps_ns.tolist() == sorted(stamps)
    np.testing.assert_allclose(read.map_from_camera, written.map_from_camera, atol=5e-9)


def test_reading_sorts_drops_duplicates_and_normalizes(tmp_path: Path) -> None:
    file = tmp_path / "poses.txt"
    file.write_text("# comment\n\n2.0 4 5 6 0 0 0 1.005\n1e0 1 2 3 0 0 0.995 0\n2 9 9 9 0 0 0 1\n")
    read = read_trajectory(file)
    assert read.stamps_ns.tolist() == [1_000_000_000, 2_000_000_000]
    assert read.left_out == ""
    np.testing.assert_allclose(read.map_from_camera[:, :3, 3], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(read.map_from_camera[:, :3, :3], [np.diag([-1, -1, 1]), np.eye(3)], atol=1e-15)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0 0 0 0 0 0", "line 3: 7 columns instead of 8"),
        ("1 0 0 0 0 0 0 1 5", "line 3: 9 columns instead of 8"),
        ("1 0 0 nan 0 0 0 1", "line 3: a value is not finite"),
        ("1 0 0 0 0 0 0 inf", "line 3: a value is not finite"),
        ("nan 0 0 0 0 0 0 1", "line 3: 'nan' is not a timestamp"),
        ("1403636579763555584 0 0 0 0 0 0 1", "line 3: .* too large to be in seconds"),
        ("1 0 0 0 0 0 0 one", "line 3: a column is not a number"),
        ("1 0 0 0 0 0 0 0.98", "line 3: the quaternion's norm is 0.98 "),
        ("1 0 0 0 0 0 0 0", "line 3: the quaternion's norm is 0 "),
    ],
)
def test_bad_lines(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "poses.txt"
    file.write_text(f"# comment\n0 0 0 0 0 0 0 1\n{line}\n")
    read = read_trajectory(file)
    assert read.stamps_ns.tolist() == [0]
    assert re.match(f"1 of 2 lines of {file} are left out, the first is {message}", read.left_out)
    # what is mostly so is something else
    file.write_text(f"# comment\n0 0 0 0 0 0 0 1\n{line}\n{line}\n")
    with pytest.raises(DataError, match=f"2 of 3 lines of {file} hold no pose, the first is {message}"):
        read_trajectory(file)


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "poses.txt"
    with pytest.raises(DataError, match="does not exist"):
        read_trajectory(file)
    file.write_text("# nothing\n")
    with pytest.raises(DataError, match="is empty: expected lines of 'timestamp tx"):
        read_trajectory(file)
    file.write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match="not a text file"):
        read_trajectory(file)
    with pytest.raises(DataError, match="is a folder"):
        read_trajectory(tmp_path)


def test_written_format(tmp_path: Path) -> None:
    file = tmp_path / "poses.txt"
    half_turn = np.diag([-1.0, -1.0, 1.0])
    write_trajectory(file, Trajectory(np.array([1_000_000_001]), make_pose(half_turn, np.array([1.0, 2.0, 3.0]))[None]))
    header, line = file.read_text().splitlines()
    assert header.startswith("#")
    assert line == "1.000000001 1.000000000 2.000000000 3.000000000 0.000000000 0.000000000 1.000000000 0.000000000"


def test_not_finite_poses_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not finite"):
        write_trajectory(tmp_path / "poses.txt", Trajectory(np.array([1]), np.full((1, 4, 4), np.nan)))
    assert not list(tmp_path.iterdir())


@given(vector, vector, st.floats(0, 3.1), vector, st.integers(0, 100))
def test_interpolation_moves_and_turns_evenly(
    start: FloatArray, move: FloatArray, angle: float, axis: FloatArray, percent: int
) -> None:
    axis = axis / np.linalg.norm(axis) if np.linalg.norm(axis) > 1e-3 else np.array([0.0, 0.0, 1.0])
    turn = angle * axis
    begin = pose(start / 50, start)
    samples = Trajectory(np.array([0, 100 * MS]), np.stack([begin, pose(turn, move) @ begin]))
    # the second sample as a turn about the first camera's own axes and a move in the map
    samples.map_from_camera[1, :3, 3] = start + move
    got, valid = poses_at(samples, np.array([percent * MS]))
    share = percent / 100
    expected = make_pose(rotation_exp(share * turn) @ begin[:3, :3], start + share * move)
    assert valid.all()
    np.testing.assert_allclose(pose_error(got[0], expected), 0, atol=1e-7)


def test_samples_are_returned_as_they_are() -> None:
    samples = trajectory([0, 50 * MS, 90 * MS, 10_000 * MS])
    got, valid = poses_at(samples, samples.stamps_ns)
    assert valid.all()
    np.testing.assert_allclose(got, samples.map_from_camera, atol=1e-14)


def test_what_is_known() -> None:
    # dense until 0.2 s, then a gap of 1 s
    samples = trajectory([0, 100 * MS, 200 * MS, 1200 * MS])
    wanted = {-21: False, -20: True, 0: True, 50: True, 199: True, 220: True, 221: False, 700: False}
    wanted |= {1179: False, 1180: True, 1220: True, 1221: False}
    got, valid = poses_at(samples, np.array([ms * MS for ms in wanted]))
    assert valid.tolist() == list(wanted.values())
    assert np.isnan(got[~valid]).all()
    assert np.isfinite(got[valid]).all()
    held, _ = poses_at(samples, np.array([-20 * MS, 1220 * MS]))
    np.testing.assert_allclose(held, samples.map_from_camera[[0, -1]], atol=1e-14)


def test_between_samples_that_are_the_same_nothing_moved() -> None:
    one = trajectory([0, 5000 * MS, 6000 * MS])
    samples = Trajectory(one.stamps_ns, one.map_from_camera[[0, 0, 1]])
    got, valid = poses_at(samples, np.array([2500 * MS, 5500 * MS]))
    assert valid.tolist() == [True, False]
    np.testing.assert_allclose(got[0], samples.map_from_camera[0], atol=1e-12)


def along_x(stamps_ms: Sequence[float], speed: float, wave: float = 0.0) -> Trajectory:
    """Slides at a speed in m/s and swings once a second by ``wave`` metres."""
    t = np.array(stamps_ms) / 1e3
    where = np.column_stack([speed * t + wave * np.sin(2 * np.pi * t), 0 * t, 0 * t])
    return Trajectory(np.rint(t * 1e9).astype(np.int64), make_pose(np.eye(3) + 0 * where[:, :, None], where))


def test_how_far_apart_samples_may_be() -> None:
    images = np.arange(50, 9_000, 100) * MS
    fast = spacing_of(along_x(range(0, 10_000, 20), 0.5), images)
    assert (fast.gap_ns, fast.hold_ns, str(fast)) == (150 * MS, 20 * MS, "0.15 s")
    slow = spacing_of(along_x(range(0, 10_000, 200), 0.02), images)
    assert (slow.gap_ns, slow.hold_ns, str(slow)) == (500 * MS, 200 * MS, "0.5 s")
    # what moves fast does not stay where it was for long
    assert spacing_of(along_x(range(0, 10_000, 200), 0.5), images).hold_ns == 20 * MS
    assert spacing_of(along_x(range(0, 10_000, 200), 0.5), images, 0.25).gap_ns == 250 * MS
    assert fast.doubt == slow.doubt == ""
    swinging = along_x(range(0, 10_000, 330), 0.5, 0.2)
    doubt = spacing_of(swinging, images).doubt
    assert re.fullmatch(r"comes at 3 Hz only: the poses between its samples may be off by \d+ cm", doubt)
    assert spacing_of(swinging, swinging.stamps_ns + 10 * MS).doubt == ""
    assert spacing_of(along_x([5], 0.5), images).gap_ns == 150 * MS


def test_the_limits_can_be_given() -> None:
    samples = trajectory([0, 1000 * MS])
    _, valid = poses_at(samples, np.array([500 * MS]), max_gap_ns=1000 * MS)
    assert valid.all()
    _, valid = poses_at(samples, np.array([1 * MS]), max_gap_ns=10 * MS, tolerance_ns=0)
    assert not valid.any()


def test_nothing_to_interpolate() -> None:
    empty = Trajectory(np.zeros(0, dtype=np.int64), np.zeros((0, 4, 4)))
    assert poses_at(empty, np.array([1, 2]))[1].tolist() == [False, False]
    assert poses_at(trajectory([1, 2]), np.zeros(0, dtype=np.int64))[0].shape == (0, 4, 4)


def test_single_sample() -> None:
    _, valid = poses_at(trajectory([0]), np.array([-20 * MS, 0, 20 * MS, 21 * MS]))
    assert valid.tolist() == [True, True, True, False]
