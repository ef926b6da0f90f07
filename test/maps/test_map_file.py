"""The map file: what goes in comes out, and what is not a map is refused in one sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_files import Header, Tensors, assert_same, refused, rewritten
from safetensors import safe_open
from safetensors.numpy import save_file
from synthetic_scene import make_map, make_scene, ring

from neumap.errors import MapFileError
from neumap.maps import map_file
from neumap.maps.drift import apply_deviation, fit_drift
from neumap.maps.map_file import HEADER_KEY, VERSION, load_map, save_map, to_bytes
from neumap.maps.neural_map import Calibration, ExpectedAccuracy, NeuralMap
from neumap.maps.recording import Recording, recording_of
from neumap.records import Camera, Frame


def small_map() -> NeuralMap:
    rng = np.random.default_rng(0)
    poses = ring(20)
    given_poses = np.array([apply_deviation(p, rng.normal(size=6) * 0.01) for p in poses])
    return replace(
        make_map(make_scene(rng, 60), voxel_m=4.0),
        drift=fit_drift(poses, given_poses),
        calibration=Calibration(pixel_sigma=2.5, min_inliers=11),
        expected=ExpectedAccuracy(7, 0.9, 0.02, 0.8, 0.7, 0.9, 0.88),
        frame_id="küche/map",
        mapping_images=20,
        seed=2**31,
    )


MAP = small_map()
CONTENT = to_bytes(MAP)


def test_a_map_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = save_map(tmp_path / "a.neumap", MAP)
    loaded = load_map(tmp_path / "a.neumap")
    assert_same(MAP, loaded)
    assert loaded.map_id == saved.map_id
    assert len(loaded.map_id) == 16
    assert loaded.decoder == "descriptor"
    assert [p.name for p in tmp_path.iterdir()] == ["a.neumap"]


def test_equal_maps_are_equal_files_and_others_are_not(tmp_path: Path) -> None:
    assert to_bytes(small_map()) == CONTENT
    ids = {
        save_map(tmp_path / "a.neumap", other).map_id
        for other in (
            MAP,
            replace(MAP, seed=1),
            replace(MAP, calibration=Calibration()),
            replace(MAP, landmarks=replace(MAP.landmarks, coarse=MAP.landmarks.coarse + 1)),
        )
    }
    assert len(ids) == 4


def test_saving_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.neumap"
    path.write_bytes(b"old")
    umask = os.umask(0o027)
    try:
        save_map(str(path), MAP)
    finally:
        os.umask(umask)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "there is no map" in refused(tmp_path / "missing.neumap")
    assert "not a file" in refused(tmp_path)
    (tmp_path / "text").write_text("map")
    refused(tmp_path / "text" / "below.neumap")
    refused("x" * 5000)


@pytest.mark.parametrize("content", [b"", b"x", b"\0" * 8, b"\xff" * 100, b"P5 2 2 255 abcd", b"\0" * 10_000])
def test_what_is_no_map(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.neumap").write_bytes(content)
    refused(tmp_path / "a.neumap")


def test_truncated_anywhere(tmp_path: Path) -> None:
    path, content = tmp_path / "a.neumap", CONTENT
    lengths = {*range(0, 24), *np.linspace(24, len(content) - 1, 40).astype(int).tolist(), len(content) - 1}
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        refused(path)
    path.write_bytes(content + b"\0")
    refused(path)


@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_a_flipped_byte_anywhere(tmp_path_factory: pytest.TempPathFactory, where: int, by: int) -> None:
    content = bytearray(CONTENT)
    content[where] ^= by
    path = tmp_path_factory.getbasetemp() / "flipped.neumap"
    path.write_bytes(content)
    refused(path)


@given(st.integers(0, 3000), st.binary(min_size=1, max_size=4))
def test_an_overwritten_header(tmp_path_factory: pytest.TempPathFactory, where: int, new: bytes) -> None:
    content = CONTENT[:where] + new + CONTENT[where + len(new) :]
    path = tmp_path_factory.getbasetemp() / "header.neumap"
    path.write_bytes(content)
    if content == CONTENT:
        load_map(path)
    else:
        refused(path)


def forge(path: Path, change: Callable[[Tensors, Header], object]) -> Path:
    """A map with something changed, and an id that agrees with it."""
    return rewritten(path, CONTENT, change)


def test_an_unchanged_forgery_is_a_map(tmp_path: Path) -> None:
    assert_same(MAP, load_map(forge(tmp_path / "a.neumap", lambda t, h: None)))


def test_other_safetensors_files(tmp_path: Path) -> None:
    path = tmp_path / "a.neumap"
    save_file({"weights": np.zeros(3, np.float32)}, path)
    assert "not a neumap map" in refused(path)
    for text in (
        "",
        "3",
        "null",
        "[]",
        "{}",
        '{"format": "other", "version": 1}',
        '{"format": "neumap"}',
        "[" * 100_000,
    ):
        save_file({"weights": np.zeros(3, np.float32)}, path, {HEADER_KEY: text})
        assert "not a neumap map" in refused(path)
    save_file({"weights": np.zeros(3, np.float32)}, path, {HEADER_KEY: '{"format": "neumap", "version": 1}'})
    refused(path)
    save_file({}, path)
    refused(path)


def test_another_version_is_refused_and_says_so(tmp_path: Path) -> None:
    sentence = refused(forge(tmp_path / "a.neumap", lambda t, h: h.update(version=VERSION + 1)))
    assert "newer" in sentence
    assert "upgrade" in sentence
    for version in (1, VERSION - 1):
        sentence = refused(forge(tmp_path / "a.neumap", lambda t, h, v=version: h.update(version=v)))
        assert f"older neumap (map format {version}" in sentence
        assert "make the map again" in sentence
    for version in (0, -1, "1", None, 1.5):
        refused(forge(tmp_path / "a.neumap", lambda t, h, v=version: h.update(version=v)))


def test_an_unknown_type_of_numbers(tmp_path: Path) -> None:
    """Types that numpy does not have: the file is well-formed, its content cannot be read."""
    length = int.from_bytes(CONTENT[:8], "little")
    for old, new in ((b'"F32"', b'"I32"'), (b'"I32"', b'"BF16"'), (b'"U8"', b'"F8_E4M3"'), (b'"U8"', b'"NEW"')):
        header = CONTENT[8 : 8 + length].replace(old, new)
        path = tmp_path / "a.neumap"
        path.write_bytes(len(header).to_bytes(8, "little") + header + CONTENT[8 + length :])
        refused(path)


TENSORS = sorted({"landmark.anchors", *map_file.LAYOUT})


@pytest.mark.parametrize("name", TENSORS)
def test_every_tensor_must_be_there_in_its_type_and_shape(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.neumap"
    assert name in refused(forge(path, lambda t, h: t.pop(name)))
    spoiled: list[Callable[[Any], Any]] = [
        lambda v: v.astype(np.float64),
        lambda v: v[None],
        lambda v: v.reshape(-1)[0],
        lambda v: v[:-1],
        lambda v: np.concatenate([v, v]),
        lambda v: v[:0],
    ]
    for spoil in spoiled:
        refused(forge(path, lambda t, h, s=spoil: t.update({name: s(t[name])})))
    with safe_open(forge(path, lambda t, h: None), framework="np") as file:
        is_real = file.get_tensor(name).dtype.kind == "f"
    for value in (np.nan, np.inf) if is_real else ():
        sentence = refused(forge(path, lambda t, h, v=value: t[name].reshape(-1).__setitem__(-1, v)))
        assert "not finite" in sentence


def set_at(name: str, where: int, value: float) -> Callable[[Tensors, Header], object]:
    return lambda t, h: t[name].reshape(-1).__setitem__(where, value)


COUNT = len(MAP.landmarks)
VOXELS = len(MAP.grid)


@pytest.mark.parametrize(
    "change",
    [
        set_at("landmark.offsets", 0, 1),
        set_at("landmark.offsets", 1, COUNT + 5),
        set_at("landmark.offsets", -1, COUNT - 1),
        set_at("landmark.offsets", 1, -(2**31)),
        set_at("drift.quat_xyzw", slice(None), 0),  # type: ignore[arg-type]
        set_at("drift.scale", 2, -1e-3),
        lambda t, h: t.update(
            {k: np.repeat(t[k], 6000, axis=0) for k in t if k.startswith("drift.") and t[k].ndim == 2}
        ),
        lambda t, h: t.update({"landmark.descriptors": t["landmark.descriptors"][:, :5]}),
        lambda t, h: t.update({"landmark.coarse": np.repeat(t["landmark.coarse"], 8, axis=1)}),
        lambda t, h: t.update({"other": np.zeros(3, np.float32)}),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, change: Callable[[Tensors, Header], object]) -> None:
    assert "not a valid map" in refused(forge(tmp_path / "a.neumap", change))


def test_offsets_whose_differences_overflow(tmp_path: Path) -> None:
    def change(tensors: Tensors, header: Header) -> None:
        tensors["landmark.offsets"][1:4] = [2**31 - 1, -(2**31), -1]

    assert VOXELS >= 4
    assert "landmark.offsets" in refused(forge(tmp_path / "a.neumap", change))


HEADER_PATHS = [
    *[(name,) for name in ("frame_id", "voxel_size_m", "mapping_images", "seed")],
    *[("features", name) for name in ("extractor", "max_keypoints", "contrast_threshold", "edge_threshold")],
    *[("drift", name) for name in ("length_m", "angle_rad", "noise")],
    *[("calibration", f.name) for f in fields(Calibration)],
    *[("expected", f.name) for f in fields(ExpectedAccuracy)],
    ("features",),
    ("drift",),
    ("calibration",),
    ("expected",),
]


@pytest.mark.parametrize("where", HEADER_PATHS, ids=".".join)
def test_every_field_of_the_header_must_be_there_and_make_sense(tmp_path: Path, where: tuple[str, ...]) -> None:
    path = tmp_path / "a.neumap"

    def parent(header: Header) -> Header:
        for name in where[:-1]:
            header = header[name]
        return header

    refused(forge(path, lambda t, h: parent(h).pop(where[-1])))
    wrong: list[object] = ["", [], {}, "12", True, [1, {}]]
    if where != ("seed",):
        wrong += [-1, float("inf"), float("nan"), 10**400]
    if where[0] != "expected":
        wrong.append(None)
    if where == ("frame_id",):
        wrong.remove("12")
    if where == ("seed",):
        wrong.remove(True)
    for value in wrong:
        refused(forge(path, lambda t, h, v=value: parent(h).update({where[-1]: v})))


RECORDING = {"name": "drive", "first_ns": 1, "last_ns": 2, "width": 640, "height": 480, "focal_px": 525.0}


@pytest.mark.parametrize(
    "wrong",
    [
        *[None, 3, {}, "drive", [3], [{}], [{**RECORDING, "more": 1}], [{**RECORDING, "name": "a\nb"}]],
        *[[{**RECORDING, "name": "x" * 31}], [{**RECORDING, "last_ns": 2.5}], [{**RECORDING, "first_ns": 2**63}]],
        *[[{**RECORDING, "width": 0}], [{**RECORDING, "focal_px": float("nan")}], [{**RECORDING, "focal_px": "1"}]],
    ],
)
def test_recordings_are_checked(tmp_path: Path, wrong: object) -> None:
    path = tmp_path / "a.neumap"
    good = forge(path, lambda t, h: h.update({"recordings": [RECORDING]}))
    assert load_map(good).recordings == (Recording(**RECORDING),)
    assert "not a valid map" in refused(forge(path, lambda t, h: h.update({"recordings": wrong})))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        *[("Küche 1", "Küche 1"), ("台所\u30001", "台所_1"), ("room\u00a01", "room_1"), ("a\nb", "a_b")],
        *[(os.fsdecode(b"k\xfcche"), "k_che"), ("\u3000" * 40, "_" * 30)],
    ],
)
def test_a_folder_of_any_name_is_a_recording(tmp_path: Path, folder: str, name: str) -> None:
    camera = Camera(640, 480, np.diag([525.0, 525.0, 1.0]))
    frame = Frame("1", 1, camera, lambda: np.zeros((480, 640), np.uint8))
    named = replace(MAP, recordings=(recording_of(tmp_path / folder, [frame]),))
    save_map(tmp_path / "a.neumap", named)
    assert [each.name for each in load_map(tmp_path / "a.neumap").recordings] == [name]


@pytest.mark.parametrize("where", ["voxel_size_m", "drift.length_m", "drift.noise", "calibration.inflation"])
def test_some_numbers_must_not_be_zero(tmp_path: Path, where: str) -> None:
    def change(tensors: Tensors, header: Header) -> None:
        *parents, name = where.split(".")
        for p in parents:
            header = header[p]
        header[name] = 0

    refused(forge(tmp_path / "a.neumap", change))


def test_a_field_too_many_in_the_settings(tmp_path: Path) -> None:
    refused(forge(tmp_path / "a.neumap", lambda t, h: h["calibration"].update(other=1)))
    load_map(forge(tmp_path / "a.neumap", lambda t, h: h.update(made_by="someone")))


def test_where_nothing_can_be_written_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MapFileError, match="cannot write"):
        save_map(tmp_path / "missing" / "a.neumap", MAP)
    (tmp_path / "folder.neumap").mkdir()
    with pytest.raises(MapFileError, match="cannot write"):
        save_map(tmp_path / "folder.neumap", MAP)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.neumap"]
    assert not list((tmp_path / "folder.neumap").iterdir())


def test_a_full_disk_leaves_the_old_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.neumap"
    save_map(path, replace(MAP, seed=1))
    old = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MapFileError, match="No space left"):
        save_map(path, MAP)
    assert path.read_bytes() == old != CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["a.neumap"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(MapFileError, match="cannot write"):
            save_map(tmp_path / "a.neumap", MAP)
    finally:
        tmp_path.chmod(0o700)
    assert not list(tmp_path.iterdir())
