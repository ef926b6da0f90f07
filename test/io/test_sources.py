from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neumap.errors import ConfigError, DataError
from neumap.io.bags.topics import BagOptions
from neumap.io.sources import open_source

Make = Callable[..., Path]


def test_tum_folder(make_tum: Make) -> None:
    folder = make_tum()
    mapping = open_source(folder, poses=True)
    assert mapping.description.startswith("TUM")
    assert mapping.has_depth
    assert all(frame.map_from_camera is not None for frame in mapping.frames)
    query = open_source(folder, poses=False, depth=False)
    assert not query.has_depth
    assert all(frame.map_from_camera is None for frame in query.frames)


def test_colmap_model_goes_to_its_reader(make_tum: Make, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    for name in ("cameras.txt", "images.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"COLMAP model .* has 0 registered image"):
        open_source(tmp_path, poses=True)
    # a TUM folder that was also reconstructed is still one, unless its COLMAP images are given
    folder = make_tum()
    for name in ("cameras.txt", "images.txt"):
        (folder / name).write_text("")
    assert open_source(folder, poses=True).description.startswith("TUM")
    with pytest.raises(DataError, match=r"COLMAP model .* has 0 registered image"):
        open_source(folder, poses=True, images=folder / "rgb")


def test_images_are_for_queries_only(make_tum: Make) -> None:
    folder = make_tum()
    assert open_source(folder / "rgb", poses=False).description.startswith("folder of images")
    assert open_source(folder / "rgb" / "1.000000.png", poses=False).description.startswith("image ")
    for path in (folder / "rgb", folder / "rgb" / "1.000000.png"):
        with pytest.raises(DataError, match="images without poses: a map needs"):
            open_source(path, poses=True)


@pytest.mark.parametrize("name", ["metadata.yaml", "bag_0.mcap", "bag_0.db3"])
def test_bags_go_to_their_reader(tmp_path: Path, name: str) -> None:
    pytest.importorskip("rosbags")
    (tmp_path / name).write_text("")
    for path in (tmp_path, tmp_path / name)[: 1 if name == "metadata.yaml" else 2]:
        with pytest.raises(DataError, match=r"the bag .* is damaged"):
            open_source(path, poses=True)


def test_a_bag_and_its_options(tmp_path: Path) -> None:
    pytest.importorskip("rosbags")
    from small_bags import drive

    path = drive().write(tmp_path / "bag")
    source = open_source(path, poses=True, bag=BagOptions(map_frame="odom"))
    assert source.description.startswith("bag ")
    assert len(source.frames) == 10
    assert len(open_source(path / "bag.mcap", poses=False, depth=False).frames) == 10
    with pytest.raises(DataError, match=r"did you mean .*bag\?"):
        open_source(tmp_path, poses=True)
    with pytest.raises(ConfigError, match="is not a COLMAP model"):
        open_source(path, poses=True, images=tmp_path)


def test_options_for_bags_for_what_is_none(make_tum: Make) -> None:
    folder = make_tum()
    assert open_source(folder, poses=True, bag=BagOptions()).frames
    for path in (folder, folder / "rgb"):
        with pytest.raises(ConfigError, match="is not a rosbag: leave these options out"):
            open_source(path, poses=False, bag=BagOptions(image_topic="/image"))


def test_image_folder_for_what_is_no_model(make_tum: Make) -> None:
    with pytest.raises(ConfigError, match="is not a COLMAP model"):
        open_source(make_tum(), poses=True, images="images")


def test_nothing_that_is_known(tmp_path: Path, make_tum: Make) -> None:
    with pytest.raises(DataError, match="none does not exist"):
        open_source(tmp_path / "none", poses=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"no source of images: give a TUM RGB-D folder .*, a COLMAP .* or a rosbag"):
        open_source(empty, poses=True)
    with pytest.raises(DataError, match=r"a folder of images or an image$"):
        open_source(empty, poses=False)
    text = tmp_path / "a.txt"
    text.write_text("")
    with pytest.raises(DataError, match="no source of images"):
        open_source(text, poses=False)
    folder = make_tum()
    with pytest.raises(DataError, match=r"did you mean .*mapping\?"):
        open_source(folder.parent, poses=True)


@pytest.mark.parametrize("poses", [True, False])
def test_a_video_is_told_how_to_get_poses(tmp_path: Path, poses: bool) -> None:
    (tmp_path / "walk.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(DataError, match=r"a video tells no poses; take images from it and let COLMAP find these"):
        open_source(tmp_path / "walk.MP4", poses=poses)


def test_a_trajectory_tells_the_poses_of_any_images(
    tmp_path: Path, camera_info: Callable[..., str], write_image: Callable[..., Path]
) -> None:
    folder, path = tmp_path / "images", tmp_path / "poses.txt"
    for name in ("10.0.png", "10.1.png", "10.4.png", "11.0.png"):
        write_image(folder / name)
    (folder / "camera_info.yaml").write_text(camera_info())
    path.write_text("".join(f"{10 + i / 10:.1f} {i} 0 1 0 0 0 1\n" for i in (0, 1, 2, 3, 5)) + "10.2 nan 0 0 0 0 0 1\n")
    source = open_source(folder, poses=True, trajectory=path)
    xs = [np.asarray(frame.map_from_camera)[0, 3] for frame in source.frames]
    np.testing.assert_allclose(xs, [0, 1, 4])
    lines, gap = source.notes
    assert "1 of 6 lines of" in lines
    assert source.left_out == (lines,)
    assert gap == "1 of 4 images have no pose, poses.txt has gaps of more than 0.25 s there: left out"
    # none has one unless poses are wanted
    assert all(frame.map_from_camera is None for frame in open_source(folder, poses=False, trajectory=path).frames)
    path.write_text("1700000000.0 0 0 0 0 0 0 1\n1700000001.0 0 0 0 0 0 0 1\n")
    with pytest.raises(
        DataError, match=r"no image has a pose in .*poses\.txt, .*are they of the same recording and clo"
    ):
        open_source(folder, poses=True, trajectory=path)
    for number, image in enumerate(sorted(folder.glob("*.png"))):
        image.rename(folder / f"frame{number}.png")
    with pytest.raises(DataError, match=r"no pose of .*poses\.txt can be told of .*: name its images by their stamps"):
        open_source(folder, poses=True, trajectory=path)


def test_a_trajectory_in_the_place_of_ground_truth(make_tum: Make, tmp_path: Path) -> None:
    folder, path = make_tum(), tmp_path / "poses.txt"
    rows = (folder / "groundtruth.txt").read_text().splitlines()
    stamps = [row.split()[0] for row in rows if not row.startswith("#")]
    path.write_text("".join(f"{stamp} 7 8 9 0 0 0 1\n" for stamp in stamps))
    told = open_source(folder, poses=True)
    source = open_source(folder, poses=True, trajectory=path)
    assert len(source.frames) == len(told.frames)
    assert source.has_depth
    np.testing.assert_allclose([np.asarray(frame.map_from_camera)[:3, 3] for frame in source.frames], [[7, 8, 9]] * 3)
    (folder / "groundtruth.txt").unlink()
    assert len(open_source(folder, poses=True, trajectory=path).frames) == len(told.frames)
    with pytest.raises(DataError, match=r"has no groundtruth\.txt: .*, there or in the file of --trajectory"):
        open_source(folder, poses=True)
