"""Replaying a bag as users do: what is written, that it can be repeated, options, and errors on one line."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags")

from neumap.cli.main import main
from neumap.geometry.cameras import project
from neumap.geometry.se3 import invert_pose, make_pose, transform_points
from neumap.io.bags.messages import header, message, transform, typestore
from neumap.io.bags.reader import BagReader
from neumap.io.bags.writer import BagWriter
from neumap.io.image_messages import gray_of
from neumap.io.sources import open_source
from neumap.io.stamps import stamp_of
from neumap.io.trajectories import read_trajectory, write_trajectory
from neumap.io.tum import read_tum
from neumap.maps.map_file import load_map
from neumap.records import Trajectory
from neumap.virtual.recording import IMAGE_TOPIC, INFO_TOPIC, TRUTH_TOPIC, record_query
from neumap.virtual.world import SMALL

WRITTEN = {"replay", "poses.txt", "states.txt", "report.txt", "report.json", "log.txt", "times.txt", "replay.png"}
ROOT = Path(__file__).resolve().parents[2]
STATUS = "/neumap_localizer/status"
LANDMARKS, INLIERS, IMAGE = (f"/neumap_localizer/{name}" for name in ("landmarks", "inliers", "image/compressed"))
RAW, COMPRESSED, CLOUD = (f"sensor_msgs/msg/{name}" for name in ("Image", "CompressedImage", "PointCloud2"))
SHOWN = {LANDMARKS, INLIERS, IMAGE}
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

    def run(*arguments: object, status: int = 0) -> Path:
        given = ["replay", str(bag), "--map", str(virtual_map), "--out", str(tmp_path), *map(str, arguments)]
        assert main(given) == status
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
        assert set(topics) - {topic.name for topic in given.topics} - {"/pose", STATUS, "/diagnostics"} == SHOWN
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


def test_foxgloves_layout_shows_what_is_in_it(replays: list[tuple[Path, str]]) -> None:
    layout = json.loads((ROOT / "config" / "foxglove.json").read_text())
    shown = set(re.findall(r'"(/[^".]*)(?:\.\w+)?"', json.dumps(layout)))
    with BagReader(replays[0][0] / "replay") as out:
        assert shown < {topic.name for topic in out.topics}
    assert shown == SHOWN | {"/pose", STATUS, "/diagnostics"}
    panels = set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"])))
    assert panels == set(layout["configById"])


def test_what_can_be_seen_in_it(replays: list[tuple[Path, str]], bag: Path, virtual_map: Path) -> None:
    folder, _ = replays[0]
    kinds = {LANDMARKS: "PointCloud2", INLIERS: "PointCloud2", IMAGE: "CompressedImage"}
    seen = {
        name: [typestore().deserialize_cdr(data, f"sensor_msgs/msg/{kind}") for _, _, data in messages(folder, name)]
        for name, kind in kinds.items()
    }
    neural_map = load_map(virtual_map)
    [landmarks] = seen[LANDMARKS]
    np.testing.assert_allclose(rows(landmarks), neural_map.landmarks.points(neural_map.grid), atol=1e-5)
    # an image and its inliers for each that was searched, as it is in the recording
    stamps = [stamp_of(cloud.header) for cloud in seen[INLIERS]]
    assert [stamp_of(image.header) for image in seen[IMAGE]] == stamps
    assert len(stamps) == report(folder)["images_processed"]
    pixels = {f.stamp_ns: f.read_image() for f in open_source(bag, poses=False).frames}
    truth = {f.stamp_ns: f for f in open_source(bag, poses=True).frames}
    shown = 0
    for image, cloud in zip(seen[IMAGE], seen[INLIERS], strict=True):
        stamp = stamp_of(image.header)
        assert image.header.frame_id == "camera_color_optical_frame"
        assert np.abs(gray_of(image).astype(float) - pixels[stamp]).mean() < 3
        points = rows(cloud)
        if len(points):
            frame = truth[stamp]
            assert frame.map_from_camera is not None
            in_camera = transform_points(invert_pose(frame.map_from_camera), points[:, :3].astype(np.float64))
            off = np.linalg.norm(project(frame.camera, in_camera) - points[:, 3:], axis=1)
            assert np.median(off) < 2
            shown += 1
    assert shown >= 6


def test_compressed_images_are_kept_as_they_came(replays: list[tuple[Path, str]], bag: Path) -> None:
    with BagReader(bag) as given:
        came = {bytes(m.data) for m in given.messages([t for t in given.topics if t.name == IMAGE_TOPIC])}
    kept = [data for _, _, data in messages(replays[0][0], IMAGE)]
    assert len(set(kept)) == report(replays[0][0])["images_processed"]
    assert set(kept) <= came


def test_images_stamped_late_are_there_with_what_was_found_in_them(
    replay: Callable[..., Path], bag: Path, tmp_path: Path
) -> None:
    params, late_ns = tmp_path / "params.yaml", 10_000_000
    params.write_text("/**:\n  ros__parameters:\n    image_time_offset: [-0.01]\n")
    folder = replay("--duration", "0.55", "--params", params)
    kept = [typestore().deserialize_cdr(data, COMPRESSED) for _, _, data in messages(folder, IMAGE)]
    clouds = [typestore().deserialize_cdr(data, CLOUD) for _, _, data in messages(folder, INLIERS)]
    stamps = [stamp_of(image.header) for image in kept]
    assert stamps == [stamp_of(cloud.header) for cloud in clouds]
    assert len(stamps) == report(folder)["images_processed"] >= 3
    pixels = {f.stamp_ns - late_ns: f.read_image() for f in open_source(bag, poses=False).frames}
    assert all(np.array_equal(gray_of(image), pixels[stamp]) for image, stamp in zip(kept, stamps, strict=True))


def test_raw_images_are_compressed(altered: Callable[..., Path], virtual_map: Path, tmp_path: Path) -> None:
    def raw(time_ns: int, topic: str, given: Any) -> tuple[int, str, Any]:
        if topic != IMAGE_TOPIC:
            return time_ns, topic, given
        pixels = gray_of(given)
        layout = {"height": pixels.shape[0], "width": pixels.shape[1], "step": pixels.shape[1], "encoding": "mono8"}
        return time_ns, topic, message(RAW, header=given.header, data=pixels.reshape(-1), **layout)

    recording, out = altered(raw, {IMAGE_TOPIC: RAW}), tmp_path / "out"
    assert main(["replay", str(recording), "--map", str(virtual_map), "--out", str(out), "--duration", "0.95"]) == 0
    pixels = {f.stamp_ns: f.read_image() for f in open_source(recording, poses=False).frames}
    kept = [typestore().deserialize_cdr(data, COMPRESSED) for _, _, data in messages(out, IMAGE)]
    assert len(kept) == report(out)["images_processed"] >= 4
    for image in kept:
        assert (image.format, bytes(image.data[:2])) == ("jpeg", b"\xff\xd8")
        assert np.abs(gray_of(image).astype(float) - pixels[stamp_of(image.header)]).mean() < 3


def rows(cloud: Any) -> Any:
    """The columns (N, K) of a cloud of float32."""
    return np.frombuffer(bytes(cloud.data), "<f4").reshape(-1, cloud.point_step // 4)


def test_another_map_has_its_landmarks_in_it(replay: Callable[..., Path], virtual_map: Path) -> None:
    folder = replay("--duration", "0.5", "--call", f"load_map:{virtual_map}@0.3")
    assert len(list(messages(folder, LANDMARKS))) == 2


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
    folder = replay("--duration", "0.95", "--rectified", "--mask", mask, status=1)
    assert "the mask is 300x300, the images are 320x240" in (folder / "states.txt").read_text()
    cv2.imwrite(str(mask), np.full((120, 160), 255, np.uint8))
    folder = replay("--duration", "0.95", "--rectified", "--mask", mask)
    assert "intrinsics: P of camera_info, for rectified images" in (folder / "log.txt").read_text()
    assert report(folder)["poses"] > 2


def test_on_the_floor_the_truth_is_compared_there(replay: Callable[..., Path], tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    two_d_mode: true\n")
    folder = replay("--duration", "0.75", "--params", params)
    poses, numbers = read_trajectory(folder / "poses.txt").map_from_camera, report(folder)
    assert len(poses) >= 3
    assert (poses[:, 2] == [0, 0, 1, 0]).all()
    # the camera of this robot rises and sinks, and is tilted by some degrees
    assert numbers["accuracy"]["poses"]["translation_m"]["max"] < 0.03
    assert numbers["accuracy"]["poses"]["rotation_deg"]["max"] < 1.0


def test_beside_a_recorded_localizer(bag: Path, virtual_map: Path, tmp_path: Path) -> None:
    """What the recorded one sends stays, it is told and compared; claims come in by their own name."""
    pose, params = "geometry_msgs/msg/PoseWithCovarianceStamped", tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    mode: initializer\n")
    with BagReader(bag) as given:
        recorded = [(m.time_ns, m.topic.name, m.topic.type, bytes(m.data)) for m in given.messages(given.topics)]
    start_ns, lines = recorded[0][0], list[tuple[int, str, str, Any]](recorded)
    for i in range(8):
        at_ns = start_ns + i * 100_000_000
        wrong = make_pose(np.eye(3), np.array([9.0, 9.0, 0.0]))
        sent = {"transforms": [transform(at_ns + 1_000_000_000, "map", "odom", wrong)]}
        lines.append((at_ns, "/tf", "tf2_msgs/msg/TFMessage", message("tf2_msgs/msg/TFMessage", **sent)))
    for topic, frame in (("/initialpose", "of_amcl"), ("/neumap_localizer/claim", "of_us")):
        claim = message(pose, header=header(start_ns, frame), pose={"pose": {"orientation": {"w": 1.0}}})
        lines.append((start_ns + 10_000_000, topic, pose, claim))
    with BagWriter(tmp_path / "beside") as writer:
        for time_ns, topic, kind, content in sorted(lines, key=lambda line: line[0]):
            writer.write(topic, kind, time_ns, content, topic == "/tf_static")
    arguments = ("--map", virtual_map, "--out", tmp_path / "out", "--params", params, "--duration", "0.85")
    assert main(["replay", str(tmp_path / "beside"), *map(str, arguments)]) == 0
    of_map = [t for t in transforms(tmp_path / "out") if t.header.frame_id == "map"]
    assert [t.transform.translation.x for t in of_map] == [9.0] * 8
    told = [typestore().deserialize_cdr(data, pose) for _, _, data in messages(tmp_path / "out", "/initialpose")]
    assert [each.header.frame_id for each in told] == ["of_amcl", "map"]
    assert told[1].pose.pose.position.z == 0.0
    said = statuses(tmp_path / "out")
    reasons = {status.reason for status in said}
    assert "initial pose refused: the pose is in the frame 'of_us': give it in 'map'" in reasons
    assert not any("of_amcl" in reason for reason in reasons)
    assert said[-1].other_disagrees
    assert said[-1].other_distance > 5.0


def transforms(folder: Path) -> list[Any]:
    kind = "tf2_msgs/msg/TFMessage"
    return [t for _, _, data in messages(folder, "/tf") for t in typestore().deserialize_cdr(data, kind).transforms]


def test_a_faster_recording_leaves_less_time_for_an_image(replay: Callable[..., Path]) -> None:
    folder = replay("--duration", "0.95", "--rate", "4", "--inference-ms", "100")
    numbers = report(folder)
    # 100 ms are 400 ms of the recording
    assert numbers["latency_s"][0] >= 0.4
    assert (numbers["images_processed"], numbers["images_dropped"]) == (4, 6)
    assert (numbers["cost_s"], numbers["half_as_fast_hz"]) == pytest.approx((0.1, 5.0))


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


# --- what is not at its usual place -----------------------------------------------------------


@pytest.fixture
def altered(bag: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the bag with other messages: ``change(time_ns, topic, message)`` gives these three, or None; ``kinds`` are
    the types that topics have then.
    """

    def write(
        change: Callable[[int, str, Any], tuple[int, str, Any] | None], kinds: Mapping[str, str] | None = None
    ) -> Path:
        kept = []
        with BagReader(bag) as given:
            for each in given.messages(given.topics):
                changed = change(each.time_ns, each.topic.name, given.decode(each))
                kind = (kinds or {}).get(each.topic.name, each.topic.type)
                kept += [] if changed is None else [(*changed, kind)]
        with BagWriter(tmp_path / "altered") as writer:
            for time_ns, topic, message, kind in sorted(kept, key=lambda each: each[0]):
                writer.write(topic, kind, time_ns, message, topic.endswith("tf_static"))
        return tmp_path / "altered"

    return write


@pytest.fixture
def unlocalized(
    virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Replays a bag in which nothing is localized: the report's line of the first fix, and report.json."""

    def run(bag: Path, *arguments: object) -> tuple[str, dict[str, Any]]:
        out = tmp_path / "out"
        assert main(["replay", str(bag), "--map", str(virtual_map), "--out", str(out), *map(str, arguments)]) == 1
        captured = capsys.readouterr()
        numbers = report(out)
        assert captured.err.splitlines()[-1] == f"neumap: error: nothing was localized: {numbers['why_not']}"
        assert captured.out == (out / "report.txt").read_text() + f"written      {out}\n"
        assert {path.name for path in out.iterdir()} == WRITTEN
        return captured.out.splitlines()[1], numbers

    return run


def test_calibration_from_before_the_start(altered: Callable[..., Path], virtual_map: Path, tmp_path: Path) -> None:
    infos = 0

    def only_the_first(time_ns: int, topic: str, message: Any) -> tuple[int, str, Any] | None:
        nonlocal infos
        infos += topic == INFO_TOPIC
        return None if topic == INFO_TOPIC and infos > 1 else (time_ns, topic, message)

    bag, out = altered(only_the_first), tmp_path / "out"
    arguments = ["--map", str(virtual_map), "--out", str(out), "--start", "0.35", "--duration", "0.5"]
    assert main(["replay", str(bag), *arguments]) == 0
    assert report(out)["poses"] >= 2
    assert report(out)["accuracy"]["poses"]["translation_m"]["median"] < 0.02


def test_transforms_in_a_namespace(
    altered: Callable[..., Path], replay: Callable[..., Path], virtual_map: Path, tmp_path: Path
) -> None:
    there = read_trajectory(replay("--duration", "0.95") / "poses.txt")

    def moved(time_ns: int, topic: str, message: Any) -> tuple[int, str, Any]:
        return time_ns, f"/robot1{topic}" if topic in ("/tf", "/tf_static") else topic, message

    out = tmp_path / "out"
    arguments = ["--map", str(virtual_map), "--out", str(out), "--duration", "0.95"]
    assert main(["replay", str(altered(moved)), *arguments]) == 0
    poses = read_trajectory(out / "poses.txt")
    assert (poses.map_from_camera == there.map_from_camera).all()
    children = {
        (topic, t.header.frame_id, t.child_frame_id)
        for _, topic, data in messages(out)
        if topic.endswith("/tf")
        for t in typestore().deserialize_cdr(data, "tf2_msgs/msg/TFMessage").transforms
    }
    assert children == {("/robot1/tf", "map", "odom"), ("/robot1/tf", "odom", "base_link")}
    assert len(list(messages(out, "/robot1/tf_static"))) == 1
    assert report(out)["accuracy"]["transform_m"] is not None


def test_what_tf2_skips_is_counted(
    altered: Callable[..., Path], virtual_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(time_ns: int, topic: str, message: Any) -> tuple[int, str, Any]:
        if topic == "/tf" and time_ns % 700_000_000 == 0:
            message.transforms[0].transform.translation.x = float("nan")
        return time_ns, topic, message

    out = tmp_path / "out"
    truth = tmp_path / "truth.txt"
    truth.write_text("1 0 0 0 0 0 0 1\n2 nan 0 0 0 0 0 1\n")
    arguments = ["--map", str(virtual_map), "--out", str(out), "--duration", "0.95", "--ground-truth", str(truth)]
    recording = str(altered(broken))
    assert main(["replay", recording, *arguments]) == 0
    written = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    notes = [line for line in (out / "report.txt").read_text().splitlines() if line.startswith("note ")]
    assert len(notes) == 3
    assert re.match(r"note         \d transforms are left out, as tf2 does: TF_NAN_INPUT: .* \(\d\)$", notes[0])
    assert notes[1] == f"note         1 of 2 lines of {truth} are left out, the first is line 2: a value is not finite"
    # what does not fit costs the comparison only
    assert re.match(
        r"note         none of the \d+ estimated poses has a true pose at its time: they are from ", notes[2]
    )
    assert report(out)["accuracy"] is None
    # with --strict the same is written, and the exit tells
    capsys.readouterr()
    assert main(["replay", recording, *arguments, "--strict"]) == 1
    left_out = "; ".join(note.removeprefix("note").strip() for note in notes[:2])
    assert capsys.readouterr().err.splitlines()[-1] == f"neumap: error: {left_out}: mend them, or leave out --strict"
    assert all((out / name).read_bytes() == content for name, content in written.items() if name != "times.txt")


def test_why_nothing_was_localized(altered: Callable[..., Path], unlocalized: Callable[..., Any], bag: Path) -> None:
    # the lens is covered
    line, numbers = unlocalized(bag, "--start", "1.5", "--duration", "2")
    assert re.fullmatch(
        r"first fix    never: only \d+( to \d+)? keypoints.* \(\d+ of \d+ images\); is it the right map\?", line
    )
    assert numbers["poses"] == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("no calibration in time", r"no camera_info yet"),
        ("unusable calibration", r"camera_info cannot be used: .*"),
        ("another clock", r"the images are stamped -100 s from this clock: is use_sim_time right\?"),
        ("no odometry", r"no transform for the image: .*odom.* \(\d+ of \d+ images\)"),
    ],
)
def test_what_keeps_a_replay_from_localizing(
    altered: Callable[..., Path], unlocalized: Callable[..., Any], fault: str, said: str
) -> None:
    def change(time_ns: int, topic: str, message: Any) -> tuple[int, str, Any] | None:
        if fault == "no calibration in time" and topic == INFO_TOPIC:
            time_ns += 10_000_000_000
        if fault == "unusable calibration" and topic == INFO_TOPIC:
            message.k = np.zeros(9)
        if fault == "another clock":
            time_ns += 100_000_000_000
        return None if fault == "no odometry" and topic == "/tf" else (time_ns, topic, message)

    line, _ = unlocalized(altered(change), "--duration", "0.95")
    assert re.fullmatch(f"first fix    never: {said}", line), line


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
    assert "a replay needs matplotlib and rosbags" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_process_is_one_line(
    neumap: Callable[..., subprocess.CompletedProcess[str]], bag: Path, tmp_path: Path
) -> None:
    result = neumap("replay", bag, "--map", tmp_path / "missing.neumap", "--out", tmp_path / "out")
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "there is no map file" in line
