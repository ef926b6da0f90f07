"""A run that was interrupted goes on where it was, and takes nothing that is not its own."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from neumap.errors import DataError
from neumap.features.sift import RootSift
from neumap.io.tum import read_tum
from neumap.mapping.build import build_map
from neumap.mapping.keyframes import extract_keyframes
from neumap.mapping.odometry import straighten
from neumap.mapping.settings import MappingSettings
from neumap.mapping.work import Work
from neumap.maps.map_file import to_bytes
from neumap.records import Frame

FEW = 16


@pytest.fixture(scope="module")
def frames(virtual_world: Path) -> tuple[Frame, ...]:
    return read_tum(virtual_world / "mapping").frames[:FEW]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the images that features were looked for in."""
    counted: Counter[str] = Counter()
    whole = RootSift.whole

    def counting(self: RootSift, *args: object) -> object:
        counted["whole"] += 1
        return whole(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(RootSift, "whole", counting)
    return counted


class StopError(Exception):
    pass


@pytest.mark.parametrize("depth", [True, False])
def test_an_interrupted_run_goes_on_where_it_was(
    frames: tuple[Frame, ...], tmp_path: Path, looks: Counter[str], depth: bool
) -> None:
    if not depth:
        pytest.importorskip("pycolmap")
    settings = MappingSettings(use_depth=depth)
    whole = to_bytes(build_map(frames, settings))
    mapped = looks["whole"]
    stages = [("features", 9), ("tracks" if depth else "match", 12), ("adjust", 3)]
    looks.clear()
    for stage, at in stages:

        def stop(now: str, done: int, _: int, stage: str = stage, at: int = at) -> None:
            if now == stage and done >= at:
                raise StopError

        with pytest.raises(StopError):
            build_map(frames, settings, stop, Work(tmp_path))
    # what threads were at when the first run was interrupted is looked at again
    assert looks["whole"] <= mapped + 3
    looks.clear()
    work = Work(tmp_path)
    assert to_bytes(build_map(frames, settings, work=work)) == whole
    assert not looks["whole"]
    parts = len(list(tmp_path.iterdir()))
    assert f"; {parts} of {parts} parts were there already" in str(work)
    assert "other drives" not in str(work)


def test_what_is_of_other_settings_is_told_and_not_used(frames: tuple[Frame, ...], tmp_path: Path) -> None:
    settings = MappingSettings()
    fewer = replace(settings.features, max_keypoints=100)
    extract_keyframes(frames[:3], fewer, use_depth=True, work=Work(tmp_path))
    work = Work(tmp_path)
    kept = extract_keyframes(frames[:3], settings.features, use_depth=True, work=work)
    fresh = extract_keyframes(frames[:3], settings.features, use_depth=True)
    np.testing.assert_array_equal(kept.descriptors[:], fresh.descriptors)
    np.testing.assert_array_equal(kept.depth, fresh.depth)
    assert "; 0 of 3 parts were there already; 0 MB in it are of other drives or settings" in str(work)
    # nor with other depth, nor through another lens
    for other in (
        replace(frames[0], read_depth=lambda: np.full((240, 320), 2.0, np.float32)),
        replace(frames[0], camera=replace(frames[0].camera, matrix=np.diag([1.1, 1.1, 1.0]) @ frames[0].camera.matrix)),
    ):
        work = Work(tmp_path)
        kept = extract_keyframes([other, frames[1]], settings.features, use_depth=True, work=work)
        fresh = extract_keyframes([other, frames[1]], settings.features, use_depth=True)
        np.testing.assert_array_equal(kept.depth, fresh.depth)
        np.testing.assert_array_equal(kept.rays, fresh.rays)
        assert "1 of 2 parts were there already" in str(work)


def test_a_file_that_a_power_cut_left_half_is_made_anew(frames: tuple[Frame, ...], tmp_path: Path) -> None:
    settings = MappingSettings().features
    first = extract_keyframes(frames[:3], settings, use_depth=True, work=Work(tmp_path))
    for path, size in zip(sorted(tmp_path.iterdir()), (0, 5000), strict=False):
        path.write_bytes(path.read_bytes()[:size])
    again = extract_keyframes(frames[:3], settings, use_depth=True, work=Work(tmp_path))
    np.testing.assert_array_equal(again.descriptors[:], first.descriptors[:])
    assert len(list(tmp_path.iterdir())) == 3


def test_descriptors_of_some_images_stay_in_the_folder(frames: tuple[Frame, ...], tmp_path: Path) -> None:
    settings = MappingSettings().features
    kept = extract_keyframes(frames[:4], settings, use_depth=True, work=Work(tmp_path)).pick(np.array([3, 1]))
    fresh = extract_keyframes(frames[:4], settings, use_depth=True).pick(np.array([3, 1]))
    assert not isinstance(kept.descriptors, np.ndarray)
    np.testing.assert_array_equal(kept.descriptors[:], fresh.descriptors)
    np.testing.assert_array_equal(kept.points(kept.map_from_camera), fresh.points(fresh.map_from_camera))


def test_rows_of_files_are_those_of_an_array(frames: tuple[Frame, ...], tmp_path: Path) -> None:
    settings = MappingSettings().features
    kept = extract_keyframes(frames[:4], settings, use_depth=False, work=Work(tmp_path))
    fresh = extract_keyframes(frames[:4], settings, use_depth=False)
    count = len(fresh.image)
    assert kept.descriptors.shape == fresh.descriptors.shape
    for rows in (kept.slice(2), slice(None), np.arange(0), np.random.default_rng(0).integers(0, count, 3000)):
        np.testing.assert_array_equal(kept.descriptors[rows], fresh.descriptors[rows])
        np.testing.assert_array_equal(kept.coarse[rows], fresh.coarse[rows])


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("")
    with pytest.raises(DataError, match="work is not a folder: give another one to keep work in"):
        Work(tmp_path / "work")


@pytest.mark.parametrize("depth", [True, False])
def test_every_stage_tells_how_far_it_is(frames: tuple[Frame, ...], depth: bool) -> None:
    """Of the CPU time hardly any is between the last word of a stage and the first of the next, or without a word."""
    if not depth:
        pytest.importorskip("pycolmap")
    build_map(frames, MappingSettings(use_depth=depth))  # what is loaded once
    told: list[tuple[str, int, int, float]] = []

    def note(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total, time.process_time()))

    started = time.process_time()
    build_map(frames, MappingSettings(use_depth=depth), note)
    whole = time.process_time() - started
    silent = [b[3] - a[3] for a, b in pairwise(told) if a[0] != b[0]]
    assert sum(silent) + told[0][3] - started < 0.1 * whole
    order = list(dict.fromkeys(stage for stage, *_ in told))
    for name in order:
        steps = [(done, total) for stage, done, total, _ in told if stage == name]
        assert steps[0][0] == 0
        assert steps[-1][0] == steps[-1][1]
        assert steps == sorted(steps, key=lambda step: step[0] / max(step[1], 1))
    assert [stage for stage, *_ in told] == sorted((stage for stage, *_ in told), key=order.index)


def test_odometry_is_made_straight_with_what_was_kept(
    frames: tuple[Frame, ...], tmp_path: Path, looks: Counter[str]
) -> None:
    settings = MappingSettings()
    plain = straighten(frames, settings)
    looks.clear()
    found = [straighten(frames, settings, work=Work(tmp_path)).keyframes for _ in range(2)]
    assert looks["whole"] == FEW
    for keyframes in found:
        assert np.allclose(keyframes.map_from_camera, plain.keyframes.map_from_camera, atol=1e-9)
    # matches are kept under the names of the images that they are of
    some = np.array([5, 2])
    assert found[0].pick(some).keys == tuple(found[0].keys[i] for i in some)
