"""Mapping and localizing from bags, as users run it."""

from __future__ import annotations

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from neumap.cli.main import main, make_parser
from neumap.geometry.se3 import invert_pose
from neumap.io.trajectories import read_trajectory, write_trajectory
from neumap.io.tum import read_tum
from neumap.mapping.calibration import set_aside
from neumap.maps.map_file import load_map
from neumap.records import Trajectory
from neumap.report.evaluation import evaluate
from neumap.virtual.recording import record_mapping

pytest.importorskip("rosbags")


@pytest.fixture(scope="module")
def small_bags() -> ModuleType:
    path = Path(__file__).parents[1] / "io" / "small_bags.py"
    spec = spec_from_file_location("small_bags", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault("small_bags", module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def room(virtual_world: Path, small_bags: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The virtual room's recordings as bags: mapping with depth and poses, query with neither."""
    folder = tmp_path_factory.mktemp("bags")
    return {name: write_bag(small_bags, virtual_world / name, folder / name) for name in ("mapping", "query")}


def write_bag(make: ModuleType, recording: Path, path: Path) -> Path:
    with_poses = path.name == "mapping"
    bag = make.Bag()
    source = read_tum(recording, depth=with_poses, poses=with_poses)
    camera = source.frames[0].camera
    for frame in source.frames:
        stamp = frame.stamp_ns
        pixels = cv2.imread(str(recording / frame.name))
        bag.add("/camera/image_raw", make.image(stamp, pixels, "bgr8"))
        # a second camera, which nobody asked for
        bag.add("/rear/image_raw", make.image(stamp, pixels[::-1], "bgr8", "rear"))
        for topic in ("/camera/camera_info", "/rear/camera_info"):
            values = {"k": camera.matrix.reshape(-1), "d": camera.distortion, "width": 320, "height": 240}
            bag.add(topic, make.camera_info(stamp, **values))
        if frame.map_from_camera is not None and frame.read_depth is not None:
            bag.add("/tf", make.tf(make.transform(stamp, "cellar", make.OPTICAL, frame.map_from_camera)))
            bag.add("/camera/depth", make.image(stamp, frame.read_depth(), "32FC1"))
    written: Path = bag.write(path)
    return written


MAPPING = ("--image-topic", "camera/image_raw", "--map-frame", "cellar", "--quick", "--seed", "3")


def test_from_bag_to_bag(
    room: dict[str, Path], virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, poses = tmp_path / "m.neumap", tmp_path / "poses.txt"
    assert main(["map", str(room["mapping"]), "--out", str(out), *MAPPING]) == 0
    report = capsys.readouterr().out
    assert f"made of     bag {room['mapping']}, /camera/image_raw: 60 of 60 frames, 9 of them set aside" in report
    assert load_map(out).frame_id == "cellar"
    arguments = ["--out", str(poses), "--image-topic", "/camera/image_raw"]
    assert main(["localize", str(out), str(room["query"]), *arguments]) == 0
    assert capsys.readouterr().out.startswith("localized 12 of 12 images\n")
    truth = read_trajectory(virtual_world / "query" / "groundtruth.txt")
    evaluation = evaluate(read_trajectory(poses), truth, 12)
    assert all(recall.share == 1.0 for recall in evaluation.recall if recall.metres >= 0.05)


def test_truth_of_a_bag(
    room: dict[str, Path], virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, poses = read_tum(virtual_world / "mapping", poses=True, depth=False), tmp_path / "poses.txt"
    estimates = np.array([frame.map_from_camera for frame in source.frames[::2]])
    estimates[:, 0, 3] += 0.03
    write_trajectory(poses, Trajectory(np.array([frame.stamp_ns for frame in source.frames[::2]]), estimates))
    arguments = ["--image-topic", "/camera/image_raw", "--map-frame", "cellar"]
    assert main(["evaluate", str(poses), str(room["mapping"]), *arguments]) == 0
    told = capsys.readouterr().out
    assert told.startswith("localized    30 of 60 images (50.0%)\ntranslation  median 3.00 cm, mean 3.00, rmse 3.00")
    # its query has no poses
    assert main(["evaluate", str(poses), str(room["query"]), *arguments]) == 1
    assert "/tf" in capsys.readouterr().err


def test_odometry_is_no_truth(small_bags: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, poses = small_bags.drive(), tmp_path / "poses.txt"
    bag.replace("/tf", lambda _, message: None if message.transforms[0].header.frame_id == "map" else message)
    path = bag.write(tmp_path / "bag")
    camera = small_bags.BASE_FROM_MAST @ small_bags.MAST_FROM_CAMERA
    stamps = small_bags.START + 100 * small_bags.MS * np.arange(10)
    found = np.array([small_bags.odom_from_base(i / 10) @ camera for i in range(10)])
    write_trajectory(poses, Trajectory(stamps, found))
    assert main(["evaluate", str(poses), str(path)]) == 1
    assert capsys.readouterr().err == (
        f"neumap: error: {path} tells odometry only, which is no truth: give --pose-topic, or a trajectory as TRUTH\n"
    )
    # what is asked for is taken, and told
    assert main(["evaluate", str(poses), str(path), "--pose-topic", "/odom"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("localized    10 of 10 images (100.0%)\ntranslation  median 0.00 cm")
    assert told.err == "note: the poses are those of odometry (base_link on /odom, in 'odom'), which drifts\n"


RIG = [f"--image-topic=/{name}/image/compressed" for name in ("front", "rear")]


@pytest.fixture(scope="module")
def rig(
    virtual_world: Path, small_bags: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Trajectory]:
    """A bag of two cameras, which look different ways, and the first one's true poses; of two images of a moment: both,
    one blank, one damaged, and the second alone.
    """
    frames = read_tum(virtual_world / "query", depth=False).frames
    bag, truth = small_bags.Bag(), {}
    for index, (front, rear) in enumerate(zip(frames[:6], frames[6:], strict=True)):
        assert front.map_from_camera is not None
        assert rear.map_from_camera is not None
        stamp, front_from_rear = front.stamp_ns, np.linalg.inv(front.map_from_camera) @ rear.map_from_camera
        truth[stamp] = front.map_from_camera
        images = [front.read_image(), rear.read_image()]
        if index == 1:
            images[0] = np.full_like(images[0], 90)
        for name, pixels in zip(("front", "rear"), images, strict=True):
            camera = front.camera
            values = {"k": camera.matrix.reshape(-1), "d": camera.distortion, "width": 320, "height": 240}
            bag.add(f"/{name}/camera_info", small_bags.camera_info(stamp, name, **values))
            if (index, name) == (2, "rear"):
                bag.add(f"/{name}/image/compressed", small_bags.compressed(stamp, b"torn", frame=name))
            elif (index, name) != (3, "front"):
                data = small_bags.png(pixels)
                bag.add(f"/{name}/image/compressed", small_bags.compressed(stamp, data, frame=name))
        links = (("map", "front", front.map_from_camera), ("front", "rear", front_from_rear))
        bag.add("/tf", small_bags.tf(*(small_bags.transform(stamp, *link) for link in links)))
    stamps = np.array(list(truth))
    return bag.write(tmp_path_factory.mktemp("rig") / "bag"), Trajectory(stamps, np.array(list(truth.values())))


def test_two_cameras(
    virtual_map: Path, rig: tuple[Path, Trajectory], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, truth = rig
    report = tmp_path / "r.jsonl"
    arguments = ["localize", str(virtual_map), str(path), "--out", str(tmp_path / "poses.txt"), "--report", str(report)]
    assert main([*arguments, *RIG]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("localized 6 of 6 moments, of 11 images\n")
    assert "1 of 11 images cannot be read, and are left out: the image on /rear/image/compressed" in captured.err
    found = read_trajectory(tmp_path / "poses.txt")
    assert found.stamps_ns.tolist() == truth.stamps_ns.tolist()
    error = np.linalg.norm(found.map_from_camera[:, :3, 3] - truth.map_from_camera[:, :3, 3], axis=1)
    assert (error < 0.01).all()
    # and what was found is judged by the poses of either camera
    assert main(["evaluate", str(tmp_path / "poses.txt"), str(path), "--json", *RIG]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert (judged["queries"], judged["localized"]) == (6, 1.0)
    assert judged["translation_m"]["max"] < 0.01
    assert judged["rotation_deg"]["max"] < 1
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [[name.split()[0] for name in line["images"]] for line in lines] == [
        [f"/{name}/image/compressed" for name in (("rear",) if index == 3 else ("front", "rear"))] for index in range(6)
    ]


def test_a_drive_with_two_cameras_is_judged(virtual_map: Path, rig: tuple[Path, Trajectory], tmp_path: Path) -> None:
    arguments = ["check", str(virtual_map), str(rig[0]), "--out", str(tmp_path), "--cell", "2", *RIG]
    assert main(arguments) == 0
    drive = json.loads((tmp_path / "check.json").read_text())["drive"]
    assert (drive["images"], drive["localized"]) == (6, 1.0)
    assert drive["foreseen"] > 0.9
    odometry = drive["odometry"]
    assert (odometry["steps"], odometry["disagreeing"]) == (5, [])
    assert odometry["off_m"] < 0.01


def test_two_cameras_are_viewed(virtual_map: Path, rig: tuple[Path, Trajectory], tmp_path: Path) -> None:
    pytest.importorskip("rerun")
    from rerun.chunk import RrdReader

    out = tmp_path / "view.rrd"
    assert main(["view", str(virtual_map), str(rig[0]), "--out", str(out), *RIG]) == 0
    parts = [chunk for chunk in RrdReader(str(out)).stream() if chunk.entity_path == "/map/estimates/positions"]
    positions = np.array(parts[0].to_record_batch().to_pydict()["Points3D:positions"][0])
    poses = rig[1].map_from_camera.copy()
    assert np.linalg.norm(positions - poses[:, :3, 3], axis=1)[[0, 1, 2, 4, 5]].max() < 0.01


def test_two_cameras_map(room: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, config = tmp_path / "m.neumap", tmp_path / "map.yaml"
    config.write_text("image_topic: [/camera/image_raw, /rear/image_raw]\ndepth: false\n")
    assert main(["map", str(room["mapping"]), "--out", str(out), "--config", str(config), "--map-frame", "cellar"]) == 1
    assert "/tf does not connect cellar with rear" in capsys.readouterr().err


def test_a_map_of_odometry(virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = tmp_path / "bag", tmp_path / "m.neumap"
    record_mapping(bag, virtual_world / "mapping", seed=1)
    assert main(["map", str(bag), "--out", str(out), "--quick", "--poses", "odometry"]) == 0
    captured = capsys.readouterr()
    assert "the poses are those of odometry (base_link on /odom, in 'odom'), which drifts" in captured.out
    assert re.search(r"^odometry +\d+ loops, by \d+ images; drift taken out: 0\.\d\d m at the end", captured.out, re.M)
    assert "60 of 60 frames, 9 of them set aside" in captured.out
    assert "calibrate" in captured.err
    # the mapping poses are true ones, but for where the drive began
    frames = read_tum(virtual_world / "mapping").frames
    truth = np.array([frames[i].map_from_camera for i in range(60) if i not in set_aside(60)])
    found = load_map(out).drift.poses
    laid = truth[0] @ invert_pose(found[0]) @ found
    assert np.median(np.linalg.norm((laid - truth)[:, :3, 3], axis=1)) < 0.01


def test_options_of_a_file(room: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, out = tmp_path / "map.yaml", tmp_path / "m.neumap"
    config.write_text(
        "quick: true\nframe_id: kitchen\nevery_m: 0.3\nevery_deg: 15\n"
        "image_topic: /rear/image_raw\nmap_frame: cellar\ncamera_frame: camera_optical_frame\n"
    )
    arguments = ["--config", str(config), "--out", str(out), "--image-topic", "/camera/image_raw", "--every-deg", "20"]
    assert main(["map", str(room["mapping"]), *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.out.count(" of 60 frames moved 0.3 m or turned 20 deg since the one before") == 1
    assert " of 60 frames moved" not in captured.err
    assert load_map(out).frame_id == "kitchen"


def test_errors_are_one_line(
    room: dict[str, Path],
    virtual_world: Path,
    virtual_map: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")

    def refused(*arguments: str | Path) -> str:
        assert main([*map(str, arguments), "--out", out]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert list(tmp_path.iterdir()) == []
        return line

    several = "several topics hold images: /camera/image_raw, /rear/image_raw; choose one with --image-topic"
    assert several in refused("map", room["mapping"])
    assert several in refused("localize", virtual_map, room["query"])
    named = ("--image-topic", "/camera/image_raw")
    assert "/tf does not connect map with camera_optical_frame" in refused("map", room["mapping"], *named)
    assert "--pose-topic: the bag" in refused("map", room["mapping"], *named, "--pose-topic", "/odom")
    assert "does not tell where the camera was" in refused("map", room["query"], *named)
    assert "is not a rosbag: leave these options out" in refused("map", virtual_world / "mapping", *named)


@pytest.mark.parametrize(
    "value",
    ["--image-topic=a b", "--image-topic=/", "--every-m=0", "--every-m=nan", "--every-deg=200", "--map-frame=a b"],
)
def test_wrong_values_are_wrong_usage(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args(["map", "source", "--out", "m.neumap", value])
    assert stop.value.code == 2
    assert value.partition("=")[2] in capsys.readouterr().err


def test_the_parser_knows_all_options_of_bags() -> None:
    from dataclasses import fields

    from neumap.cli.options import BAG_OPTIONS, PER_CAMERA
    from neumap.io.bags.topics import BagOptions, CameraOptions

    # of any source, not of bags alone: --trajectory, and --poses odometry
    assert set(BAG_OPTIONS) == {field.name for field in fields(BagOptions)} - {"trajectory", "odometry"}
    args = make_parser().parse_args(["map", "source", "--out", "m.neumap", "--image-topic", "image_raw"])
    assert args.image_topic == ["/image_raw"]
    assert {field.name for field in fields(CameraOptions)} == set(PER_CAMERA)
    assert set(BAG_OPTIONS) <= set(vars(args))


def test_what_was_left_out_is_said_before_what_goes_wrong(
    small_bags: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = small_bags.drive(tf_ms=[*range(-45, 300, 50), *range(600, 1100, 50)])
    bag.add("/tf", small_bags.tf(small_bags.transform(small_bags.START, "map", "map", np.eye(4))))
    arguments = ["map", str(bag.write(tmp_path / "bag")), "--out", str(tmp_path / "m.neumap")]
    assert main(arguments) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("note", "neumap"))]
    assert lines[0].startswith("note: 1 of 37 transforms are left out, as tf2 does: TF_SELF_TRANSFORM: Ignoring ")
    assert lines[1].startswith(
        "note: 3 of 10 images have no pose, the link odom -> base_link of /tf has no two samples"
    )
    assert lines[2].startswith("neumap: error: ")
    assert len(lines) == 3
    assert main([*arguments, "--strict"]) == 1
    refusal = capsys.readouterr().err.splitlines()[-1]
    assert refusal.startswith("neumap: error: 1 of 37 transforms are left out, as tf2 does: TF_SELF_TRANSFORM")
    assert refusal.endswith(" (1): mend them, or leave out --strict")


def test_a_link_that_two_publish_is_refused(
    small_bags: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = small_bags.drive()
    for ms in range(-40, 1100, 33):
        pose = small_bags.odom_from_base(ms / 1e3)
        pose[:3, 3] += [0.0, 0.2, 0.0]
        bag.add(
            "/tf", small_bags.tf(small_bags.transform(small_bags.START + ms * 1_000_000, "odom", "base_link", pose))
        )
    assert main(["map", str(bag.write(tmp_path / "bag")), "--out", str(tmp_path / "m.neumap")]) == 1
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line == (
        "neumap: error: the link odom -> base_link of /tf goes to and fro by 20 cm, as if two published it, at 20 and "
        "31 Hz: a bag does not tell who; take the poses of one of them from a topic of odometry or poses "
        "(--pose-topic; there are /odom), or record again with the other one off"
    )
    assert captured.out == ""
    assert not (tmp_path / "m.neumap").exists()
