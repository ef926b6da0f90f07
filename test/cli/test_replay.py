"""Replaying a bag as users do: what is written, that it can be repeated, options, and errors on one line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")
pytest.importorskip("evo")

from neumap.cli.main import main
from neumap.io.bags.messages import typestore
from neumap.io.bags.reader import BagReader
from neumap.io.trajectories import read_trajectory, write_trajectory
from neumap.io.tum import read_tum
from neumap.maps.map_file import load_map
from neumap.records import Trajectory
from neumap.virtual.recording import IMAGE_TOPIC, TRUTH_TOPIC, record_query
from neumap.virtual.world import SMALL

WRITTEN = {"replay", "poses.txt", "states.txt", "report.txt", "report.json", "log.txt", "times.txt", "replay.png"}
STATUS = "/neumap_localizer/status"
# ten images, four seconds covered, ten images
SECONDS, COVERED_S, SEEN_AGAIN_S = 6.0, 1.0, 5.0


@pytest.fixture(scope="module")
def bag(virtual_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drive through the virtual room. Not to be written to."""
    path = tmp_path_factory.mktemp("drive") / "drive"
    camera = read_tum(virtual_world / "query", depth=False, poses=False).frames[0].camera
    mapped = read_trajectory(virtual_world / "mapping" / "groundtruth.txt").map_from_camera
    record_query(path, SMALL.room(0), camera, mapped, SECONDS)
    return path


@pytest.fixture(scope="module")
def replays(
    bag: Path,
    virtual_map: Path,
    neumap: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[Path, str]]:
    """The same replay twice, each in a process of its own: the folder, and what was printed."""
    out = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp("replays") / name
        result = neumap("replay", bag, "--map", virtual_map, "--out", folder)
        assert result.returncode == 0, result.stderr
        out.append((folder, result.stdout))
    return out


@pytest.fixture
def replay(bag: Path, virtual_map: Path, tmp_path: Path) -> Callable[..., Path]:
    """Replays in this process; the folder written."""

    def run(*arguments: object) -> Path:
        assert main(["replay", str(bag), "--map", str(virtual_map), "--out", str(tmp_path), *map(str, arguments)]) == 0
        return tmp_path

    return run


def messages(folder: Path, topic: str | None = None) -> Iterator[tuple[int, str, bytes]]:
    with BagReader(folder / "replay") as bag:
        for message in bag.messages([t for t in bag.topics if topic is None or t.name == topic]):
            yield message.time_ns, message.topic.name, bytes(message.data)


def statuses(folder: Path) -> list[Any]:
    kind = "neumap_ros/msg/LocalizationStatus"
    return [typestore().deserialize_cdr(data, kind) for _, _, data in messages(folder, STATUS)]


def report(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_text())


def test_all_outputs_are_there(replays: list[tuple[Path, str]], bag: Path) -> None:
    folder, printed = replays[0]
    assert {path.name for path in folder.iterdir()} == WRITTEN
    assert printed == (folder / "report.txt").read_text() + f"written      {folder}\n"
    assert (folder / "replay.png").read_bytes()[:4] == b"\x89PNG"
    with BagReader(folder / "replay") as out, BagReader(bag) as given:
        topics = {topic.name: topic for topic in out.topics}
        assert {"/pose", STATUS, "/diagnostics", "/tf", "/tf_static", TRUTH_TOPIC} <= set(topics)
        assert not {IMAGE_TOPIC, "/rosout", "/clock", "/parameter_events"} & set(topics)
        assert topics[STATUS].type == "neumap_ros/msg/LocalizationStatus"
        # the recording's own transforms, and the localizer's
        assert topics["/tf"].count > next(t.count for t in given.topics if t.name == "/tf")


def test_poses_are_right_and_states_as_the_camera_was(replays: list[tuple[Path, str]], bag: Path) -> None:
    folder, _ = replays[0]
    poses = read_trajectory(folder / "poses.txt")
    numbers = report(folder)
    assert len(poses) == numbers["poses"] >= 6
    assert numbers["accuracy"]["wrong"] == 0.0
    assert numbers["accuracy"]["poses"]["translation_m"]["median"] < 0.02
    assert numbers["first_fix_image"] == 1
    states = [line.split(" ", 2)[1] for line in (folder / "states.txt").read_text().splitlines()]
    assert list(dict.fromkeys(states)) == ["UNINITIALIZED", "TRACKING", "DEGRADED", "LOST"]
    assert "TRACKING" in states[states.index("LOST") :]
    with BagReader(bag) as given:
        start = next(given.messages(given.topics)).time_ns
    seconds = (poses.stamps_ns - start) * 1e-9
    assert ((seconds < COVERED_S) | (seconds >= SEEN_AGAIN_S)).all()


def test_two_replays_are_the_same(replays: list[tuple[Path, str]]) -> None:
    (first, _), (second, _) = replays
    for name in WRITTEN - {"replay", "replay.png", "times.txt"}:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert list(messages(first)) == list(messages(second))


def test_a_part_of_the_bag(replay: Callable[..., Path], bag: Path) -> None:
    folder = replay("--start", "0.35", "--duration", "0.5")
    poses = read_trajectory(folder / "poses.txt")
    with BagReader(bag) as given:
        start = next(given.messages(given.topics)).time_ns
    seconds = (poses.stamps_ns - start) * 1e-9
    assert len(poses) >= 2
    assert seconds.min() == pytest.approx(0.4)
    assert seconds.max() < 0.85
    assert report(folder)["accuracy"]["wrong"] == 0.0
    # the camera's place on the robot was told before
    assert len(list(messages(folder, "/tf_static"))) == 1


def test_calls(replay: Callable[..., Path], virtual_map: Path, tmp_path: Path) -> None:
    folder = replay(
        *("--duration", "1.0", "--call", "relocalize@0.3", "--call", "reinitialize@0.65"),
        *("--call", f"load_map:{virtual_map}@0.8", "--call", f"load_map:{tmp_path / 'missing.neumap'}@1.4"),
    )
    log = (folder / "log.txt").read_text()
    answers = [line for line in log.splitlines() if line.startswith("ANSWER")]
    map_id = load_map(virtual_map).map_id
    found = next(line for line in answers if line.startswith("ANSWER relocalize"))
    assert "success True" in found
    assert f"map_id {map_id}" in found
    loaded, missing = [line for line in answers if line.startswith("ANSWER load_map")]
    assert loaded == f"ANSWER load_map: success True, map_id {map_id}"
    assert "success False" in missing
    assert "there is no map file" in missing
    assert any(line.startswith("ANSWER reinitialize") for line in answers)
    reasons = [status.reason for status in statuses(folder)]
    assert "global localization was asked for" in reasons
    assert "a new map was loaded" in reasons


def test_parameters_of_a_file(replay: Callable[..., Path], tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        "/**/neumap_localizer:\n  ros__parameters:\n    max_image_rate: 2.0\n    tf_broadcast: false\n"
        "    map: elsewhere.neumap\n"
    )
    folder = replay("--duration", "0.95", "--params", params)
    # the map of the command line counts; of the rate, a fifth less time is enough
    assert report(folder)["images_processed"] == 3
    children = {t.child_frame_id for t in transforms(folder)}
    assert "odom" not in children


def test_what_is_told_of_the_images(replay: Callable[..., Path], tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), np.full((300, 300), 255, np.uint8))
    folder = replay("--duration", "0.95", "--rectified", "--mask", mask)
    assert "the mask is 300x300, the images are 320x240" in (folder / "states.txt").read_text()
    cv2.imwrite(str(mask), np.full((120, 160), 255, np.uint8))
    folder = replay("--duration", "0.95", "--rectified", "--mask", mask)
    assert "intrinsics: P of camera_info, for rectified images" in (folder / "log.txt").read_text()
    assert report(folder)["poses"] > 2


def transforms(folder: Path) -> list[Any]:
    kind = "tf2_msgs/msg/TFMessage"
    return [t for _, _, data in messages(folder, "/tf") for t in typestore().deserialize_cdr(data, kind).transforms]


def test_a_faster_recording_leaves_less_time_for_an_image(replay: Callable[..., Path]) -> None:
    folder = replay("--duration", "0.95", "--rate", "4", "--inference-ms", "100")
    numbers = report(folder)
    # 100 ms are 400 ms of the recording
    assert numbers["latency_s"][0] >= 0.4
    assert (numbers["images_processed"], numbers["images_dropped"]) == (4, 6)


def test_truth_of_a_file(replay: Callable[..., Path], replays: list[tuple[Path, str]], tmp_path: Path) -> None:
    folder, _ = replays[0]
    poses = read_trajectory(folder / "poses.txt")
    shifted = poses.map_from_camera.copy()
    shifted[:, 0, 3] += 0.4
    write_trajectory(tmp_path / "truth.txt", Trajectory(poses.stamps_ns, shifted))
    numbers = report(replay("--duration", "0.95", "--ground-truth", tmp_path / "truth.txt"))
    assert numbers["accuracy"]["wrong"] == 1.0
    assert numbers["accuracy"]["poses"]["translation_m"]["median"] == pytest.approx(0.4, abs=0.01)


def test_truth_of_a_topic(replay: Callable[..., Path]) -> None:
    # odometry is no truth, but poses all the same
    numbers = report(replay("--duration", "0.95", "--ground-truth", "/odom"))
    assert numbers["accuracy"]["wrong"] == 1.0


def test_an_older_output_is_replaced(replay: Callable[..., Path]) -> None:
    first = list(messages(replay("--duration", "0.3")))
    second = list(messages(replay("--duration", "0.5")))
    assert len(second) > len(first)


# --- what cannot be ------------------------------------------------------------------------


@pytest.fixture
def refused(bag: Path, virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Replays what cannot be replayed; the one line on stderr."""

    def run(*arguments: object, bag: object = bag, map: object = virtual_map, code: int = 1) -> str:
        line = ["replay", str(bag), "--map", str(map), "--out", str(tmp_path / "out"), *(str(a) for a in arguments)]
        assert main(line) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        (error,) = captured.err.splitlines()
        assert not (tmp_path / "out" / "report.txt").exists()
        return error

    return run


def test_bad_bags(refused: Callable[..., str], virtual_world: Path, tmp_path: Path) -> None:
    assert "missing" in refused(bag=tmp_path / "missing")
    assert str(virtual_world / "query") in refused(bag=virtual_world / "query")
    (tmp_path / "empty.mcap").write_bytes(b"")
    assert "empty.mcap" in refused(bag=tmp_path / "empty.mcap")


def test_a_bag_without_images(refused: Callable[..., str], bag: Path, tmp_path: Path) -> None:
    from neumap.io.bags.writer import BagWriter

    with BagReader(bag) as given, BagWriter(tmp_path / "blind") as writer:
        for message in given.messages([t for t in given.topics if t.name in ("/tf", "/odom")]):
            writer.write(message.topic.name, message.topic.type, message.time_ns, bytes(message.data))
    assert "image" in refused(bag=tmp_path / "blind")


def test_bad_maps(refused: Callable[..., str], virtual_map: Path, tmp_path: Path) -> None:
    assert "there is no map file" in refused(map=tmp_path / "missing.neumap")
    assert "is not a file" in refused(map=tmp_path)
    (tmp_path / "bad.neumap").write_bytes(virtual_map.read_bytes()[:-1])
    assert "bad.neumap" in refused(map=tmp_path / "bad.neumap")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("{max_image_rate: 5}", "max_image_rate"),
        ("{max_image_rate: fast}", "max_image_rate"),
        ("{max_image_rate: 1000.0}", "max_image_rate"),
        ("{jump_images: 1}", "jump_images"),
        ("{base_frame_id: /base}", "base_frame_id"),
        ("{odom_frame_id: [odom]}", "odom_frame_id"),
        ("[1, 2", "params.yaml"),
    ],
)
def test_bad_parameter_files(refused: Callable[..., str], tmp_path: Path, text: str | None, said: str) -> None:
    params = tmp_path / "params.yaml"
    if text is not None:
        params.write_text(f"/**:\n  ros__parameters: {text}\n")
    assert said in refused("--params", params)


def test_bad_parts_topics_and_truths(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "no image on" in refused("--start", "1000")
    assert "/nothing" in refused("--image-topic", "/nothing")
    assert "/nothing" in refused("--camera-info-topic", "/nothing")
    line = refused("--ground-truth", "/nothing")
    assert "'/nothing' is neither a file nor a topic of poses" in line
    assert TRUTH_TOPIC in line


def test_an_output_that_is_a_file(
    bag: Path, virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["replay", str(bag), "--map", str(virtual_map), "--out", str(tmp_path / "file")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not a folder" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["--call", "relocalize"],
        ["--call", "reboot@3"],
        ["--call", "relocalize:x@3"],
        ["--call", "load_map@3"],
        ["--call", "relocalize@soon"],
        ["--call", "relocalize@-1"],
        ["--rate", "0"],
        ["--rate", "-1"],
        ["--start", "-1"],
        ["--duration", "0"],
        ["--inference-ms", "fast"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["replay", "bag", "--map", "m.neumap", "--out", "out", *arguments])
    assert end.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_what_is_missing_is_said_first(
    bag: Path, virtual_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("neumap.installation.find_spec", lambda name: None)
    assert main(["replay", str(bag), "--map", str(virtual_map), "--out", str(tmp_path / "out")]) == 1
    assert "a replay needs evo, matplotlib and rosbags" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_process_is_one_line(
    neumap: Callable[..., subprocess.CompletedProcess[str]], bag: Path, tmp_path: Path
) -> None:
    result = neumap("replay", bag, "--map", tmp_path / "missing.neumap", "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "there is no map file" in line
