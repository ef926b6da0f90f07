from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neumap.arrays import FloatArray
from neumap.cli.main import main
from neumap.errors import CalibrationError, DataError, MissingDependencyError
from neumap.geometry.cameras import project
from neumap.geometry.se3 import invert_pose, make_pose, quat_from_matrix, rotation_exp
from neumap.io.colmap import LENSES, SCALE_NOTE, camera_from_colmap, find_model, read_colmap
from neumap.io.sources import open_source
from neumap.io.trajectories import write_trajectory
from neumap.records import Trajectory

pycolmap = pytest.importorskip("pycolmap")

PARAMS = {
    "SIMPLE_PINHOLE": [30, 16, 12],
    "PINHOLE": [30, 31, 16, 12],
    "SIMPLE_RADIAL": [30, 16, 12, 0.1],
    "RADIAL": [30, 16, 12, 0.1, -0.05],
    "OPENCV": [30, 31, 16, 12, 0.1, -0.05, 0.01, 0.02],
    "FULL_OPENCV": [30, 31, 16, 12, 0.1, -0.05, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06],
    "SIMPLE_RADIAL_FISHEYE": [30, 16, 12, 0.1],
    "RADIAL_FISHEYE": [30, 16, 12, 0.1, -0.05],
    "OPENCV_FISHEYE": [30, 31, 16, 12, 0.1, -0.05, 0.02, 0.01],
    "SIMPLE_FISHEYE": [30, 16, 12],
    "FISHEYE": [30, 31, 16, 12],
}


def make_colmap_camera(model: str = "SIMPLE_RADIAL", camera_id: int = 1, width: int = 32, height: int = 24) -> Any:
    params = PARAMS.get(model, [30, 31, 16, 12, 0.1])
    return pycolmap.Camera(camera_id=camera_id, model=model, width=width, height=height, params=params)


def pose(index: int) -> FloatArray:
    return make_pose(rotation_exp(np.array([0.1, 0.2, 0.3]) * index), np.array([index, 2.0, 3.0]))


@pytest.fixture
def make_model(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a model with its images: image i has the pose ``pose(i)`` and the cameras in turn."""

    def make(
        names: tuple[str, ...] = ("1.5.png", "2.5.png", "3.5.png"),
        cameras: tuple[str, ...] = ("SIMPLE_RADIAL",),
        where: str = "sparse/0",
        text: bool = False,
        points: int = 3,
    ) -> Path:
        reconstruction = pycolmap.Reconstruction()
        for number, model in enumerate(cameras, start=1):
            reconstruction.add_camera_with_trivial_rig(make_colmap_camera(model, number))
        for index, name in enumerate(names):
            camera_from_map = invert_pose(pose(index))
            rigid = pycolmap.Rigid3d(
                pycolmap.Rotation3d(quat_from_matrix(camera_from_map[:3, :3])), camera_from_map[:3, 3]
            )
            image = pycolmap.Image(
                name=name,
                camera_id=index % len(cameras) + 1,
                image_id=index + 1,
                points2D=[pycolmap.Point2D(np.array([1.0, 2.0]))] * 2,
            )
            reconstruction.add_image_with_trivial_frame(image, rigid)
            write_image(tmp_path / "images" / name)
        for _ in range(points):
            reconstruction.add_point3D(np.zeros(3), pycolmap.Track(), np.zeros(3, dtype=np.uint8))
        model_folder = tmp_path / where
        model_folder.mkdir(parents=True, exist_ok=True)
        (reconstruction.write_text if text else reconstruction.write_binary)(model_folder)
        return tmp_path

    return make


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("where", ["", "sparse", "sparse/0"])
def test_frames(make_model: Callable[..., Path], where: str, text: bool) -> None:
    folder = make_model(where=where, text=text)
    for given in {folder, folder / where}:
        source = read_colmap(given)
        assert source.notes == (SCALE_NOTE,)
        assert not source.has_depth
        assert [(f.name, f.stamp_ns) for f in source.frames] == [
            ("1.5.png", 1_500_000_000),
            ("2.5.png", 2_500_000_000),
            ("3.5.png", 3_500_000_000),
        ]
        for index, frame in enumerate(source.frames):
            assert frame.map_from_camera is not None
            np.testing.assert_allclose(frame.map_from_camera, pose(index), atol=1e-12)
            assert frame.read_image().shape == (24, 32)


def test_a_query_has_no_pose(make_model: Callable[..., Path]) -> None:
    source = read_colmap(make_model(("1.png",)), poses=False)
    assert [frame.map_from_camera for frame in source.frames] == [None]


@pytest.mark.parametrize("model", LENSES)
def test_lenses_project_as_in_colmap(model: str) -> None:
    colmap = make_colmap_camera(model)
    points = np.random.default_rng(0).uniform([-0.4, -0.3, 1], [0.4, 0.3, 1.2], (50, 3))
    expected = np.array([colmap.img_from_cam(point) for point in points]) - 0.5
    np.testing.assert_allclose(project(camera_from_colmap(colmap), points), expected, atol=1e-9)


def test_unknown_lens(make_model: Callable[..., Path]) -> None:
    with pytest.raises(CalibrationError, match="lens model FOV has no ROS counterpart: undistort"):
        read_colmap(make_model(cameras=("FOV",)))


def test_several_cameras_and_names(make_model: Callable[..., Path]) -> None:
    folder = make_model(("left/a.png", "right/a.png", "left/b.png"), cameras=("PINHOLE", "OPENCV_FISHEYE"))
    source = read_colmap(folder)
    assert [frame.name for frame in source.frames] == ["left/a.png", "left/b.png", "right/a.png"]
    assert [frame.camera.distortion_model for frame in source.frames] == ["plumb_bob", "plumb_bob", "equidistant"]
    assert "0 s, 1 s" in source.notes[1]


def test_images_elsewhere(make_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_model()
    (folder / "images").rename(folder / "photos")
    with pytest.raises(DataError, match=r"none of the 3 images .* give --images FOLDER"):
        read_colmap(folder)
    assert len(read_colmap(folder, folder / "photos").frames) == 3
    with pytest.raises(DataError, match=r"the image folder .*none does not exist"):
        read_colmap(folder, tmp_path / "none")


def test_missing_images_are_named(make_model: Callable[..., Path]) -> None:
    folder = make_model()
    (folder / "images" / "2.5.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 3 images .* the first is 2\.5\.png"):
        read_colmap(folder)


def test_image_of_another_size(make_model: Callable[..., Path], write_image: Callable[..., Path]) -> None:
    folder = make_model()
    for name in ("1.5.png", "2.5.png", "3.5.png"):
        write_image(folder / "images" / name, 16, 12)
    source = read_colmap(folder)
    assert source.frames[0].camera.matrix[0, 0] == 15
    assert "scaled" in source.notes[1]


def test_too_few_images(make_model: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"has 1 registered image\(s\): at least two"):
        read_colmap(make_model(("1.png",)))


def test_no_model(tmp_path: Path) -> None:
    assert find_model(tmp_path) is None
    with pytest.raises(DataError, match="no COLMAP model"):
        read_colmap(tmp_path)


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin", "rigs.bin"])
def test_cut_off_files(make_model: Callable[..., Path], file: str) -> None:
    path = make_model() / "sparse/0" / file
    whole = path.read_bytes()
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="is damaged or incomplete"):
            read_colmap(path.parent)


@pytest.mark.parametrize("text", [False, True])
def test_names_with_spaces(make_model: Callable[..., Path], text: bool) -> None:
    source = read_colmap(make_model(("left side/an image 1.png", "b.png", "IMG 2 (1).png"), text=text))
    assert [frame.name for frame in source.frames] == ["IMG 2 (1).png", "b.png", "left side/an image 1.png"]
    for frame, index in zip(source.frames, (2, 1, 0), strict=True):
        assert frame.map_from_camera is not None
        np.testing.assert_allclose(frame.map_from_camera, pose(index), atol=1e-12)
        assert frame.read_image().shape == (24, 32)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("left_out", [["points3D"], ["points3D", "rigs", "frames"]])
def test_files_that_are_not_needed(make_model: Callable[..., Path], text: bool, left_out: list[str]) -> None:
    folder = make_model(text=text)
    for name in left_out:
        (folder / "sparse/0" / f"{name}{'.txt' if text else '.bin'}").unlink()
    source = read_colmap(folder)
    assert source.notes == (SCALE_NOTE,)
    for index, frame in enumerate(source.frames):
        assert frame.map_from_camera is not None
        np.testing.assert_allclose(frame.map_from_camera, pose(index), atol=1e-12)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("given", ["", "sparse"])
def test_of_several_models_the_largest_is_taken(make_model: Callable[..., Path], given: str, text: bool) -> None:
    make_model(("1.png", "2.png"), where="sparse/0", text=text)
    make_model(tuple(f"{number}.png" for number in range(3, 10)), where="sparse/1", text=text)
    folder = make_model(("11.png", "12.png", "13.png"), where="sparse/10", text=text)
    source = read_colmap(folder / given)
    assert [frame.name for frame in source.frames] == [f"{number}.png" for number in range(3, 10)]
    said = f"the model with the most images of 3 is used: {folder / 'sparse/1'}, 7 images"
    assert source.notes == (SCALE_NOTE, said)
    assert len(read_colmap(folder / "sparse/0").frames) == 2


@pytest.mark.parametrize("given", ["", "colmap/sparse/0", "colmap/sparse"])
def test_the_layout_of_nerfstudio(make_model: Callable[..., Path], given: str) -> None:
    folder = make_model(where="colmap/sparse/0")
    assert len(read_colmap(folder / given).frames) == 3


SECOND_FROM_RIG = make_pose(rotation_exp(np.array([0.0, 0.6, 0.0])), np.array([-0.5, 0.0, 0.1]))


@pytest.fixture
def make_rig(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a model of two cameras that are mounted together, as COLMAP has them since 3.12, with their images."""

    def rigid(pose: FloatArray) -> Any:
        return pycolmap.Rigid3d(pycolmap.Rotation3d(quat_from_matrix(pose[:3, :3])), pose[:3, 3])

    def make(names: tuple[str, ...] = ("1/{}.png", "2/{}.png"), text: bool = False, alone: int = -1) -> Path:
        reconstruction, rig = pycolmap.Reconstruction(), pycolmap.Rig(rig_id=1)
        sensors = [pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number) for number in (1, 2)]
        for number in (1, 2):
            reconstruction.add_camera(make_colmap_camera("OPENCV", number))
        rig.add_ref_sensor(sensors[0])
        rig.add_sensor(sensors[1], rigid(SECOND_FROM_RIG))
        reconstruction.add_rig(rig)
        for index in range(3):
            numbers = (2,) if index == alone else (1, 2)
            frame = pycolmap.Frame(frame_id=index + 1, rig_id=1, rig_from_world=rigid(invert_pose(pose(index))))
            for number in numbers:
                frame.add_data_id(pycolmap.data_t(sensors[number - 1], 2 * index + number))
            reconstruction.add_frame(frame)
            for number in numbers:
                name = names[number - 1].format(index)
                write_image(tmp_path / "images" / name)
                image = pycolmap.Image(name=name, camera_id=number, image_id=2 * index + number)
                image.frame_id = index + 1
                reconstruction.add_image(image)
        (tmp_path / "sparse").mkdir()
        (reconstruction.write_text if text else reconstruction.write_binary)(tmp_path / "sparse")
        return tmp_path

    return make


@pytest.mark.parametrize("text", [False, True])
def test_cameras_of_a_rig(make_rig: Callable[..., Path], text: bool) -> None:
    folder = make_rig(text=text)
    source = read_colmap(folder)
    assert len(source.frames) == 6
    for each in source.frames:
        number, index = int(each.name[0]), int(each.name[2])
        mounted = np.eye(4) if number == 1 else SECOND_FROM_RIG
        assert each.map_from_camera is not None
        np.testing.assert_allclose(each.map_from_camera, pose(index) @ invert_pose(mounted), atol=1e-9)
    moments = read_colmap(folder, poses=False).moments
    assert [[frame.name for frame in moment] for moment in moments] == [[f"1/{i}.png", f"2/{i}.png"] for i in range(3)]
    for index, moment in enumerate(moments):
        assert [frame.stamp_ns for frame in moment] == [index * 10**9] * 2
        for frame, expected in zip(moment, (np.eye(4), invert_pose(SECOND_FROM_RIG)), strict=True):
            assert frame.mount is not None
            np.testing.assert_allclose(frame.mount.rig_from_camera, expected, atol=1e-9)
            assert not frame.mount.covariance.any()


def test_images_of_a_rig_have_the_stamp_of_the_first_cameras(make_rig: Callable[..., Path]) -> None:
    moments = read_colmap(make_rig(("z/10{}.5.png", "a/{}.png"), alone=1)).moments
    assert [[frame.name for frame in moment] for moment in moments] == [
        ["a/1.png"],
        ["z/100.5.png", "a/0.png"],
        ["z/102.5.png", "a/2.png"],
    ]
    assert [moment[0].moment_ns / 1e9 for moment in moments] == [1, 100.5, 102.5]


def test_the_trajectory_of_a_rig_is_its_first_cameras(make_rig: Callable[..., Path], tmp_path: Path) -> None:
    folder, path = make_rig(("1/1{}.5.png", "2/1{}.5.png")), tmp_path / "poses.txt"
    stamps, poses = 10**9 * np.arange(3) + 10_500_000_000, np.array([pose(index) for index in range(3)])
    write_trajectory(path, Trajectory(stamps, poses))
    source = open_source(folder, poses=True, trajectory=path)
    assert [len(moment) for moment in source.moments] == [2, 2, 2]
    for index, moment in enumerate(source.moments):
        for frame, mounted in zip(moment, (np.eye(4), invert_pose(SECOND_FROM_RIG)), strict=True):
            np.testing.assert_allclose(frame.map_from_camera, pose(index) @ mounted, atol=1e-8)


def test_the_truth_of_a_rig_is_its_first_cameras(
    make_rig: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = make_rig(("1/1{}.5.png", "2/1{}.5.png")), tmp_path / "poses.txt"
    stamps, poses = 10**9 * np.arange(2) + 10_500_000_000, np.array([pose(index) for index in range(2)])
    write_trajectory(path, Trajectory(stamps, poses))
    assert main(["evaluate", str(path), str(folder)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("localized    2 of 3 images (66.7%)\ntranslation  median 0.00 cm")
    assert "max 0.00\nwithin" in told


def test_a_rig_that_does_not_tell_where_its_cameras_are(make_rig: Callable[..., Path]) -> None:
    folder = make_rig(text=True)
    rigs = folder / "sparse" / "rigs.txt"
    told = rigs.read_text()
    rigs.write_text(told[: told.rindex("CAMERA 2")] + "CAMERA 2 0\n")
    for poses in (True, False):
        with pytest.raises(DataError, match=r"the rig 1 .* does not tell where camera 2 is on it: .*rig_configurator"):
            read_colmap(folder, poses=poses)


def test_cameras_that_are_not_mounted_together(make_model: Callable[..., Path]) -> None:
    source = read_colmap(make_model(cameras=("PINHOLE", "OPENCV")), poses=False)
    assert [len(moment) for moment in source.moments] == [1, 1, 1]
    assert [frame.mount for frame in source.frames] == [None] * 3


def test_text_that_is_no_model(make_model: Callable[..., Path]) -> None:
    folder = make_model(text=True)
    (folder / "sparse/0/images.txt").write_text("hello\n")
    with pytest.raises(DataError, match=r"is damaged or incomplete|registered image"):
        read_colmap(folder)


def test_without_pycolmap(make_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model()
    original = builtins.__import__

    def blocked(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pycolmap":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neumap\[colmap\]'"):
        read_colmap(folder)
