from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from neumap.errors import CalibrationError, DataError
from neumap.io.tum import read_image_list, read_tum

Make = Callable[..., Path]


def test_frames(make_tum: Make) -> None:
    source = read_tum(make_tum([1.0, 1.1, 1.2], pose_stamps=[0.95, 1.05, 1.15, 1.25]))
    assert source.notes == ()
    assert source.has_depth
    assert [frame.stamp_ns for frame in source.frames] == [1_000_000_000, 1_100_000_000, 1_200_000_000]
    frame = source.frames[1]
    assert frame.name == "rgb/1.100000.png"
    assert frame.map_from_camera is not None
    np.testing.assert_allclose(frame.map_from_camera[:3, 3], [1.1, 0, 0])
    assert (frame.camera.width, frame.camera.height) == (32, 24)
    assert frame.read_image().shape == (24, 32)
    assert frame.read_depth is not None
    np.testing.assert_allclose(frame.read_depth(), np.full((24, 32), 2.0))


def test_a_query_has_neither_pose_nor_need_of_one(make_tum: Make) -> None:
    folder = make_tum([1.0])
    (folder / "groundtruth.txt").write_text("broken")
    source = read_tum(folder, depth=False, poses=False)
    assert [frame.map_from_camera for frame in source.frames] == [None]
    assert not source.has_depth


def test_depth_is_optional_and_must_be_near(make_tum: Make) -> None:
    folder = make_tum(depth_offset=0.02)
    assert all(frame.read_depth is not None for frame in read_tum(folder).frames)
    lines = (folder / "depth.txt").read_text().splitlines()
    (folder / "depth.txt").write_text("\n".join(lines[:1]))
    source = read_tum(folder)
    assert [frame.read_depth is not None for frame in source.frames] == [True, False, False]
    assert source.notes == ("2 of 3 images have no depth within 20 ms",)
    (folder / "depth.txt").unlink()
    assert not read_tum(folder).has_depth


def test_frames_without_a_pose_are_left_out_with_a_note(make_tum: Make) -> None:
    source = read_tum(make_tum([1.0, 1.1, 1.5, 2.0], pose_stamps=[1.0, 1.1, 2.0]))
    assert [frame.stamp_ns for frame in source.frames] == [1_000_000_000, 1_100_000_000, 2_000_000_000]
    assert len(source.notes) == 1
    assert "1 of 4 images have no pose" in source.notes[0]


def test_rows_that_hold_no_pose_are_left_out_with_a_note(make_tum: Make) -> None:
    folder = make_tum([1.0, 1.1, 1.2], pose_stamps=[0.95, 1.05, 1.15, 1.25])
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join([*lines, "1.1 nan nan nan nan nan nan nan"]))
    source = read_tum(folder)
    assert len(source.frames) == 3
    left_out = f"1 of 5 lines of {folder / 'groundtruth.txt'} are left out, the first is line 5: a value is not finite"
    assert source.notes == source.left_out == (left_out,)
    # what was left out is said before what is wrong
    (folder / "groundtruth.txt").write_text("9 0 0 0 0 0 0 1\n9.1 0 0 0 0 0 0 1\n1 0 0 0 0 0 0 0\n")
    with pytest.raises(DataError, match=r"^1 of 3 lines of .*: the quaternion's norm is 0 .*; no image has a pose in "):
        read_tum(folder)


def test_images_of_the_same_stamp(make_tum: Make) -> None:
    folder = make_tum()
    with (folder / "rgb.txt").open("a") as file:
        file.write("1.0 rgb/1.200000.png\n")
    source = read_tum(folder)
    assert [frame.name for frame in source.frames] == ["rgb/1.000000.png", "rgb/1.100000.png", "rgb/1.200000.png"]
    assert "1 of 4 images have the stamp of another one" in source.notes[0]


def test_calibration_in_the_parent_folder(make_tum: Make) -> None:
    folder = make_tum()
    (folder / "camera_info.yaml").rename(folder.parent / "camera_info.yaml")
    assert len(read_tum(folder).frames) == 3
    (folder.parent / "camera_info.yaml").unlink()
    with pytest.raises(CalibrationError, match=r"no camera_info\.yaml in"):
        read_tum(folder)


def test_calibration_of_another_resolution(make_tum: Make, camera_info: Callable[..., str]) -> None:
    folder = make_tum()
    (folder / "camera_info.yaml").write_text(camera_info(64, 48))
    source = read_tum(folder)
    assert source.frames[0].camera.matrix[0, 0] == 15
    assert "scaled to fit" in source.frames[0].lenses[0].about[0]
    (folder / "camera_info.yaml").write_text(camera_info(64, 64))
    with pytest.raises(CalibrationError, match=r"1\.000000\.png: the image is 32x24"):
        read_tum(folder)


def test_a_later_image_of_another_size(make_tum: Make, write_image: Callable[..., Path]) -> None:
    folder = make_tum()
    write_image(folder / "rgb/1.100000.png", 16, 12)
    cv2.imwrite(str(folder / "depth/1.200000.png"), np.zeros((12, 16), np.uint16))
    frames = read_tum(folder).frames
    with pytest.raises(DataError, match=r"rgb/1\.100000\.png is 16x12, the others"):
        frames[1].read_image()
    assert frames[2].read_depth is not None
    with pytest.raises(DataError, match=r"depth/1\.200000\.png is 16x12"):
        frames[2].read_depth()


def test_not_a_folder(tmp_path: Path, make_tum: Make) -> None:
    for path in (tmp_path / "none", make_tum() / "rgb.txt"):
        with pytest.raises(DataError, match=rf"the list of images {path / 'rgb.txt'} (does not exist|cannot be read)"):
            read_tum(path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("rgb.txt", None, r"the list of images .*rgb\.txt does not exist"),
        ("rgb.txt", "# nothing\n", r"rgb\.txt is empty"),
        ("rgb.txt", "1.0\n", r"rgb\.txt, line 1: expected 'timestamp filename'"),
        ("rgb.txt", "one a.png\n", r"rgb\.txt, line 1: 'one' is not a timestamp"),
        ("rgb.txt", "1.0 rgb/1.000000.png\n1.1 a.png\n1.2 b.png\n", r"2 of the 3 .*rgb\.txt lists .* first is a\.png"),
        ("depth.txt", "1.0 a.png\n", r"1 of the 1 images that .*depth\.txt lists are missing, the first is a\.png"),
        ("depth.txt", "", r"depth\.txt is empty"),
        ("groundtruth.txt", None, r"has no groundtruth\.txt"),
        ("groundtruth.txt", "", r"groundtruth\.txt is empty"),
        (
            "groundtruth.txt",
            "9 0 0 0 0 0 0 1\n",
            r"no image has a pose .* from 9\.\d+ s to 9\.\d+ s .*; the images are from 1\.\d+ s to 1\.2",
        ),
        ("groundtruth.txt", "1 0 0 0 0 0 0 1\n", "only one of the 3 images has a pose"),
        ("camera_info.yaml", "", r"camera_info\.yaml is empty"),
    ],
)
def test_errors(make_tum: Make, file: str, content: str | None, message: str) -> None:
    folder = make_tum()
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        read_tum(folder)


def test_names_may_hold_spaces_and_lists_need_not_be_sorted(tmp_path: Path) -> None:
    (tmp_path / "rgb.txt").write_text("2.0 my image.png\n1.0\tb.png\n")
    assert read_image_list(tmp_path / "rgb.txt") == [(1_000_000_000, "b.png"), (2_000_000_000, "my image.png")]


@pytest.mark.scenes
@pytest.mark.parametrize(
    ("scene", "mapping", "query"), [("tum_fr1", 265, 121), ("redkitchen", 318, 125), ("hololens", 209, 61)]
)
def test_every_image_of_the_scenes_has_a_pose(scenes: Path, scene: str, mapping: int, query: int) -> None:
    for part, count in (("mapping", mapping), ("query", query)):
        source = read_tum(scenes / scene / part)
        assert (len(source.frames), source.notes) == (count, ())
        assert all(frame.map_from_camera is not None for frame in source.frames)
        assert all((frame.read_depth is not None) == (part == "mapping") for frame in source.frames)
