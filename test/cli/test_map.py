from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from neumap.cli import map as verb
from neumap.cli.main import main, make_parser
from neumap.geometry.se3 import invert_pose
from neumap.io.tum import read_tum
from neumap.mapping.settings import MappingSettings
from neumap.maps.map_file import load_map


def test_the_report_says_what_was_made(virtual_map: Path) -> None:
    report = virtual_map.with_suffix(".report").read_text()
    neural_map = load_map(virtual_map)
    assert f"id {neural_map.map_id}" in report
    assert "60 of 60 frames, 9 of them set aside" in report
    assert f"{len(neural_map.landmarks)} landmarks, decoder latent" in report
    assert "too few to rely on" not in report
    assert "within 5 cm, 5 deg 100%" in report


def test_progress_is_lines_where_there_is_no_terminal(virtual_map: Path) -> None:
    lines = virtual_map.with_suffix(".progress").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "open",
        "features",
        "overlap",
        "tracks",
        "grouping",
        "points",
        "adjust",
        "points again",
        "drift",
        "landmarks",
        "choose landmarks",
        "describe",
        "encode",
        "calibrate",
    ]


def test_a_quick_map_is_small(virtual_map: Path) -> None:
    assert 50_000 < virtual_map.stat().st_size <= 100_000


def test_the_same_seed_gives_the_same_map(virtual_map: Path, virtual_world: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.neumap"
    assert main(["map", str(virtual_world / "mapping"), "--out", str(out), "--quick", "--seed", "3"]) == 0
    assert out.read_bytes() == virtual_map.read_bytes()


def test_the_size_is_met(
    virtual_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "MANY", 59)
    out = tmp_path / "small.neumap"
    arguments = ["--decoder", "descriptor", "--size", "60KB", "--frame-id", "kitchen"]
    assert main(["map", str(virtual_world / "mapping"), "--out", str(out), *arguments]) == 0
    assert 57_000 <= out.stat().st_size <= 60_000
    assert load_map(out).frame_id == "kitchen"
    assert "note: 60 images take about 0 GB of memory, less with --work\n" in capsys.readouterr().err


def test_options_of_a_file_and_a_picture(
    some_frames: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    source, picture = some_frames(30), tmp_path / "m.png"
    config = tmp_path / "map.yaml"
    config.write_text("quick: true\nseed: 5\nframe_id: cellar\nsize: 50KB\nfeatures: {max_keypoints: 400}\n")
    out = tmp_path / "m.neumap"
    arguments = ["--config", str(config), "--seed", "6", "--plot", str(picture)]
    assert main(["map", str(source), "--out", str(out), *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"picture     {picture}"
    assert picture.read_bytes()[:4] == b"\x89PNG"
    made = load_map(out)
    assert (made.frame_id, made.seed, made.features.max_keypoints) == ("cellar", 6, 400)
    assert out.stat().st_size <= 50_000


def test_a_picture_that_cannot_be_drawn_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", str(tmp_path), "--out", str(tmp_path / "m.neumap"), "--plot", str(tmp_path / "m.doc")]) == 1
    assert "m.doc: end its name in one of .png" in capsys.readouterr().err


def test_without_depth(some_frames: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycolmap")
    source = some_frames(30)
    out = tmp_path / "m.neumap"
    assert main(["map", str(source), "--out", str(out), "--quick", "--no-depth"]) == 0
    captured = capsys.readouterr()
    assert "triangulate: done" in captured.err
    assert localized_within(out, source, tmp_path) > 0.9


def test_a_colmap_model(
    virtual_world: Path, some_frames: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_colmap(tmp_path / "model", virtual_world, 30)
    out = tmp_path / "m.neumap"
    arguments = ["--out", str(out), "--quick", "--images", str(virtual_world / "mapping" / "rgb")]
    assert main(["map", str(model), *arguments]) == 0
    assert "no scale of its own" in capsys.readouterr().out
    assert localized_within(out, some_frames(30), tmp_path) > 0.9


def write_colmap(folder: Path, world: Path, count: int) -> Path:
    pycolmap = pytest.importorskip("pycolmap")
    frames = read_tum(world / "mapping").frames[:count]
    k = frames[0].camera.matrix
    camera = pycolmap.Camera.create_from_model_name(1, "PINHOLE", k[0, 0], frames[0].camera.width, 240)
    camera.params = [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    for index, frame in enumerate(frames, start=1):
        assert frame.map_from_camera is not None
        image = pycolmap.Image(name=Path(frame.name).name, camera_id=1, image_id=index)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(invert_pose(frame.map_from_camera)[:3]))
    folder.mkdir()
    model.write(folder)
    return folder


def localized_within(path: Path, source: Path, folder: Path) -> float:
    """The share of images localized within 5 cm and 5 degrees."""
    from neumap.io.trajectories import read_trajectory
    from neumap.report.evaluation import evaluate

    assert main(["localize", str(path), str(source), "--out", str(folder / "poses.txt")]) == 0
    truth = read_trajectory(source / "groundtruth.txt")
    count = len((source / "rgb.txt").read_text().splitlines()) - 2
    recall = evaluate(read_trajectory(folder / "poses.txt"), truth, count).recall
    return next(r.share for r in recall if r.metres == 0.05)


@pytest.mark.parametrize("work", [False, True])
def test_interrupting_leaves_nothing_but_work(
    virtual_world: Path,
    tmp_path: Path,
    start_neumap: Callable[..., subprocess.Popen[str]],
    capsys: pytest.CaptureFixture[str],
    work: bool,
) -> None:
    folder = tmp_path / "work"
    arguments = ["map", virtual_world / "mapping", "--out", tmp_path / "m.neumap", "--quick"]
    arguments += ["--work", folder] if work else []
    # a shell starts what it runs in the background deaf to SIGINT, and children inherit that
    process = start_neumap(
        *arguments,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("open: done")
    if work:
        assert process.stderr.readline().startswith("features: done")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # 130, also to a shell that sees SIGINT: by that 'python -m' ends where Ctrl-C struck in exec() of a text, as
    # dataclasses call it during imports, although KeyboardInterrupt was caught
    assert process.returncode in (130, -signal.SIGINT)
    assert out == ""
    resume = f"the same command resumes the run from {folder}"
    resume = resume if work else "with --work DIR the run could be resumed"
    assert err.splitlines()[-1] == f"neumap: error: interrupted; {resume}"
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == ([folder] if work else [])
    if work:
        kept = len(list(folder.iterdir()))
        assert main([str(argument) for argument in arguments]) == 0
        report = capsys.readouterr().out
        assert re.search(rf"work +{folder}, \d+ MB; {kept} of {len(list(folder.iterdir()))} parts were there", report)


def test_a_full_disk_leaves_nothing(
    some_frames: Callable[[int], Path], tmp_path: Path, neumap: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    resource = pytest.importorskip("resource")
    source = some_frames(30)
    before = sorted(path.name for path in tmp_path.iterdir())
    result = neumap(
        *("map", source, "--out", tmp_path / "m.neumap", "--quick"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("neumap: error: cannot write the map to ")
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_every_setting_has_an_option() -> None:
    args = make_parser().parse_args(["map", "source", "--out", "m.neumap"])
    names = {"size_bytes": "size", "use_depth": "depth"}
    # features are for a file only
    settings = {names.get(f.name, f.name) for f in fields(MappingSettings)} - {"features"}
    assert settings <= set(vars(args))


def test_the_best_size_has_no_limit(tmp_path: Path) -> None:
    config = tmp_path / "map.yaml"
    for text, arguments, size in (
        ("size: 50KB", [], 50_000),
        ("size: 50KB", ["--size", "best"], None),
        ("size: best", [], None),
        ("size: best", ["--size", "60KB"], 60_000),
    ):
        config.write_text(text)
        args = make_parser().parse_args(["map", "source", "--out", "m.neumap", "--config", str(config), *arguments])
        assert verb.settings_of(args).size_bytes == size


@pytest.mark.parametrize("value", ["--size=much", "--seed=-1", "--frame-id=a map", "--threads=0", "--decoder=vlad"])
def test_wrong_values_are_wrong_usage(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        make_parser().parse_args(["map", "source", "--out", "m.neumap", value])
    assert stop.value.code == 2
    assert value.partition("=")[2] in capsys.readouterr().err


def test_odometry_is_in_a_frame_of_its_own(
    virtual_map: Path, virtual_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["map", str(virtual_world / "mapping"), "--poses", "odometry", "--extend", str(virtual_map)]
    assert main([*arguments, "--out", str(tmp_path / "both.neumap")]) == 1
    assert "are odometry's, in a frame of their own" in (refusal := capsys.readouterr().err)
    assert "give --align" in refusal
    assert not (tmp_path / "both.neumap").exists()
