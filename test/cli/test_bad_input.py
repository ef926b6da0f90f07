"""What is wrong with the input is said in one line, and nothing half-written is left."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save, save_file

from neumap.cli.main import main
from neumap.maps.map_file import HEADER_KEY, VERSION, content_id

Refused = Callable[..., str]
Process = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs the command in this process, which must fail and change nothing, and returns its message."""

    def run(*args: str | Path) -> str:
        before = snapshot(tmp_path)
        capsys.readouterr()
        assert main([str(arg) for arg in args]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1 or captured.err.splitlines()[-2].endswith("s)"), captured.err
        assert snapshot(tmp_path) == before
        message = captured.err.splitlines()[-1]
        assert message.startswith("neumap: error: ")
        return message

    return run


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def recording(virtual_world: Path, tmp_path: Path) -> Path:
    """Three mapping images to break."""
    folder = tmp_path / "recording"
    folder.mkdir()
    for name in ("rgb.txt", "groundtruth.txt"):
        lines = (virtual_world / "mapping" / name).read_text().splitlines()
        (folder / name).write_text("\n".join([line for line in lines if line[0] != "#"][:3]) + "\n")
    for line in (folder / "rgb.txt").read_text().splitlines():
        target = folder / line.split()[1]
        target.parent.mkdir(exist_ok=True)
        shutil.copy(virtual_world / "mapping" / line.split()[1], target)
    shutil.copy(virtual_world / "mapping/camera_info.yaml", folder)
    return folder


def images(folder: Path) -> list[Path]:
    return sorted((folder / "rgb").iterdir())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def column(path: Path, index: int, value: str) -> None:
    lines = [line.split() for line in path.read_text().splitlines()]
    lines[1][index] = value
    path.write_text("".join(" ".join(line) + "\n" for line in lines))


def test_sources_that_are_none(refused: Refused, tmp_path: Path) -> None:
    out = tmp_path / "m.neumap"
    assert "does not exist" in refused("map", tmp_path / "missing", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "empty is no source of images" in refused("map", tmp_path / "empty", "--out", out)
    (tmp_path / "notes.txt").write_text("hello")
    assert "notes.txt is no source of images" in refused("map", tmp_path / "notes.txt", "--out", out)


def test_swapped_arguments(refused: Refused, recording: Path, virtual_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    a_map = f"{virtual_map} is a map, not a source of images: give the recording there, and the map where one is due"
    no_map = "give a .neumap file there, and images where a source of them is asked for"
    renamed = shutil.copy(virtual_map, tmp_path / "renamed")
    for given in (virtual_map, renamed):
        assert a_map.replace(str(virtual_map), str(given)) in refused("map", given, "--out", out)
        assert a_map.replace(str(virtual_map), str(given)) in refused("localize", virtual_map, given, "--out", out)
    assert f"{recording} is not a file, and so no map: {no_map}" in refused(
        "localize", recording, virtual_map, "--out", out
    )
    assert f"rgb.txt is not a map: {no_map}" in refused("localize", recording / "rgb.txt", virtual_map, "--out", out)
    assert f"{recording} is not a file, and so no map" in refused("map", recording, "--extend", recording, "--out", out)
    assert f"{recording} is not a file, and so no map" in refused("info", recording)
    out.mkdir()
    said = refused("replay", virtual_map, "--map", recording, "--out", out)
    assert f"{virtual_map} is no recording of ROS: give a folder of rosbag2, or an .mcap, .db3 or .bag file" in said


def test_images_without_poses_are_not_mapped(refused: Refused, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.neumap"
    assert "holds images without poses" in refused("map", recording / "rgb", "--out", out)
    (recording / "groundtruth.txt").unlink()
    assert "no groundtruth.txt" in refused("map", recording, "--out", out)


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_an_unreadable_image_is_named(
    refused: Refused, recording: Path, virtual_map: Path, tmp_path: Path, content: bytes | None
) -> None:
    damaged = images(recording)[1]
    damaged.write_bytes(damaged.read_bytes()[:200] if content is None else content)
    out = tmp_path / "m.neumap"
    assert f"the image {damaged} cannot be decoded" in refused("map", recording, "--out", out, "--strict")
    for source in (recording, recording / "rgb"):
        arguments = ["localize", virtual_map, source, "--out", tmp_path / "p.txt", "--report", tmp_path / "r.jsonl"]
        assert f"the image {damaged} cannot be decoded" in refused(*arguments, "--strict")
    # most of them are
    for path in images(recording)[1:]:
        path.write_bytes(b"not an image")
    assert "cannot be decoded" in refused("map", recording, "--out", out)
    assert "cannot be decoded" in refused(*arguments)


def test_images_of_another_size(refused: Refused, recording: Path, virtual_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.neumap"
    other = images(recording)[1]
    cv2.imwrite(str(other), np.full((120, 160), 90, np.uint8))
    said = refused("map", recording, "--out", out, "--strict")
    assert f"{other} is 160x120, the others of its camera are 320x240" in said
    for path in images(recording):
        cv2.imwrite(str(path), np.full((240, 240), 90, np.uint8))
    for arguments in (("map", recording, "--out", out), ("localize", virtual_map, recording / "rgb", "--out", out)):
        message = refused(*arguments)
        assert "240x240" in message
        assert "320x240" in message


def test_masks_that_are_none(refused: Refused, recording: Path, virtual_map: Path, tmp_path: Path) -> None:
    mask, out = tmp_path / "mask.png", tmp_path / "out"
    commands = (("map", recording, "--out", out), ("localize", virtual_map, recording, "--out", out))

    def said(path: Path = mask) -> list[str]:
        return [refused(*command, "--mask", path) for command in commands]

    assert all(f"the image {mask} does not exist" in message for message in said())
    mask.write_text("white")
    assert all(f"the image {mask} cannot be decoded" in message for message in said())
    assert all("is not black and white: paint white" in message for message in said(images(recording)[0]))
    cv2.imwrite(str(mask), np.ones((240, 320), np.uint8))
    assert all(f"the mask {mask} is all black: paint white (255)" in message for message in said())
    cv2.imwrite(str(mask), np.full((100, 320), 255, np.uint8))
    assert all("the mask is 320x100, the images are 320x240, another shape" in message for message in said())


def test_rectified_images_without_their_calibration(refused: Refused, recording: Path, tmp_path: Path) -> None:
    info = recording / "camera_info.yaml"
    edit(info, "data: [0.0, 0.0, 0.0, 0.0, 0.0]", "data: [0.1, 0.0, 0.0, 0.0, 0.0]")
    edit(info, "projection_matrix", "other_matrix")
    message = refused("map", recording, "--rectified", "--out", tmp_path / "m.neumap")
    assert f"{info}: the images are rectified, but the calibration has no P" in message


def test_poses_of_another_time(refused: Refused, recording: Path, tmp_path: Path) -> None:
    edit(recording / "groundtruth.txt", "17000000", "18000000")
    assert "no image has a pose" in refused("map", recording, "--out", tmp_path / "m.neumap")


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [(1, "nan", "not finite"), (2, "inf", "not finite"), (7, "3.0", "quaternion's norm"), (4, "x", "not a number")],
)
def test_poses_that_are_none(
    refused: Refused, recording: Path, tmp_path: Path, index: int, value: str, message: str
) -> None:
    column(recording / "groundtruth.txt", index, value)
    said = refused("map", recording, "--out", tmp_path / "m.neumap", "--strict")
    assert "groundtruth.txt are left out, the first is line 2: " in said
    assert message in said


def test_calibrations_that_cannot_be_used(refused: Refused, recording: Path, virtual_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    info = recording / "camera_info.yaml"
    whole = info.read_text()
    edit(info, "[262.0,", "[0.0,")
    assert "focal length" in refused("map", recording, "--out", out)
    assert "focal length" in refused("localize", virtual_map, recording, "--out", out)
    info.write_text(whole.replace("plumb_bob", "magic").replace("[0.0, 0.0, 0.0, 0.0, 0.0]", "[0.1]"))
    assert "unknown lens model 'magic'" in refused("map", recording, "--out", out)
    info.write_text("camera_matrix: [")
    assert "not plain YAML" in refused("map", recording, "--out", out)
    info.unlink()
    assert "no camera_info.yaml" in refused("localize", virtual_map, recording / "rgb", "--out", out)


def test_too_few_images(refused: Refused, recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.neumap"
    for path in images(recording):
        cv2.imwrite(str(path), np.full((240, 320), 90, np.uint8))
    assert "fewer than two images have 20 or more keypoints" in refused("map", recording, "--out", out)
    poses = recording / "groundtruth.txt"
    poses.write_text(poses.read_text().splitlines()[0] + "\n")
    assert "only one of the 3 images has a pose" in refused("map", recording, "--out", out)


def test_images_and_poses_that_do_not_belong_together(refused: Refused, recording: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for path in images(recording):
        noise = rng.integers(0, 256, (60, 80), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC))
    message = refused("map", recording, "--out", tmp_path / "m.neumap", "--quick")
    assert "no two images show the same things from known poses" in message


def rewritten(path: Path, target: Path, honest: bool, **changes: object) -> None:
    """The map with a changed header, and with a fitting id where ``honest``."""
    tensors = load_file(path)
    with safe_open(path, framework="np") as file:
        header = json.loads(file.metadata()[HEADER_KEY]) | changes
    if honest:
        header["map_id"] = content_id(tensors, header)
    target.write_bytes(save(tensors, {HEADER_KEY: json.dumps(header)}))


def test_map_files_that_are_none(
    refused: Refused, virtual_map: Path, virtual_world: Path, recording: Path, tmp_path: Path
) -> None:
    content = virtual_map.read_bytes()
    broken = tmp_path / "broken.neumap"

    def message() -> str:
        said = refused("info", broken)
        assert str(broken) in said
        arguments = ["localize", broken, virtual_world / "query", "--out", tmp_path / "p.txt"]
        assert refused(*arguments) == said
        return said

    assert "there is no map file" in message()
    for size in (0, 5, 100, len(content) // 2, len(content) - 1):
        broken.write_bytes(content[:size])
        assert "truncated" in message()
    for place in (len(content) - 10, len(content) // 2):
        broken.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert "altered or damaged" in message()
    broken.write_bytes(images(recording)[0].read_bytes())
    assert "not a map" in message()
    save_file({"weight": np.zeros((2, 2), np.float32)}, broken)
    assert "not a neumap map" in message()
    rewritten(virtual_map, broken, honest=False, seed=99)
    assert "altered or damaged" in message()
    rewritten(virtual_map, broken, honest=True, version=VERSION + 1)
    assert "made by a newer neumap" in message()
    rewritten(virtual_map, broken, honest=True, decoder_id="crystal ball")
    assert "crystal ball" in message()
    broken.unlink()
    broken.mkdir()
    assert "is not a file" in message()


def test_places_that_cannot_be_written(refused: Refused, virtual_map: Path, recording: Path, tmp_path: Path) -> None:
    for verb in (["map", recording], ["localize", virtual_map, recording]):
        assert "does not exist" in refused(*verb, "--out", tmp_path / "none" / "out")
        assert "is a folder" in refused(*verb, "--out", tmp_path)
        assert "does not exist" in refused(*verb, "--out", images(recording)[0] / "out")
    report = tmp_path / "none" / "r.jsonl"
    assert "does not exist" in refused("localize", virtual_map, recording, "--out", tmp_path / "p", "--report", report)
    if Path("/dev/full").exists():
        assert "/dev/full is a device" in refused("map", recording, "--out", "/dev/full")


def test_a_full_disk(virtual_map: Path, recording: Path, tmp_path: Path, neumap: Process) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    before = snapshot(tmp_path)
    result = neumap("localize", virtual_map, recording, "--out", "/dev/full")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "neumap: error: No space left on device"
    assert "Traceback" not in result.stderr
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decodr: latent", "unknown option 'decodr'; the options are decoder, size, quick,"),
        ("decoder: vlad", "decoder: 'vlad' is none of latent, descriptor"),
        ("size: large", "size: 'large' is not a size"),
        ("size: 2KB", "2000 bytes"),
        ("quick: perhaps", "quick: 'perhaps' is neither true nor false"),
        ("seed: -1", "seed: '-1' is not a seed"),
        ("seed: true", "seed: 'True' is not a seed"),
        ("frame_id: a map", "frame_id: 'a map' is not a frame name"),
        ("features: {keypoints: 3}", "features: unknown option 'keypoints'; the options are max_keypoints,"),
        ("features: {extractor: orb}", "features: extractor: 'orb' is none of rootsift"),
        ("features: {max_keypoints: 1.5}", "max_keypoints: '1.5' is not a number of keypoints"),
        ("features: {edge_threshold: -1}", "edge_threshold: '-1' is not a positive number"),
        ("features: 5", "features: expected lines of"),
        ("- quick", "expected lines of 'option: value'"),
        ("quick: [", "is not YAML"),
    ],
)
def test_configurations(refused: Refused, recording: Path, tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "map.yaml"
    config.write_text(text)
    assert message in refused("map", recording, "--out", tmp_path / "m.neumap", "--config", config)


def test_a_configuration_that_is_missing(refused: Refused, recording: Path, tmp_path: Path) -> None:
    said = refused("map", recording, "--out", tmp_path / "m.neumap", "--config", tmp_path / "none.yaml")
    assert "none.yaml does not exist" in said


def test_a_process_says_it_in_one_line(recording: Path, tmp_path: Path, neumap: Process) -> None:
    edit(recording / "camera_info.yaml", "[262.0,", "[0.0,")
    before = snapshot(tmp_path)
    result = neumap("map", recording, "--out", tmp_path / "m.neumap")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("neumap: error: ")
    assert result.stderr.count("\n") == 1
    assert snapshot(tmp_path) == before
    result = neumap("map", recording)
    assert result.returncode == 2
    assert "--out" in result.stderr
