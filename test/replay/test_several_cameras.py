"""A robot with two cameras, that look ahead and back: their images go one path, and each makes up for the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from bench import Bench
from outcomes import assert_right, outcome_of
from streams import BASE_FROM_CAMERA, IMAGE, INFO, PERIOD_NS, SECOND, TF_STATIC, Drive, Recorded, Stream

from neumap.arrays import FloatArray, ImageArray
from neumap.errors import ConfigError
from neumap.geometry.cameras import make_camera
from neumap.geometry.se3 import make_pose, rotation_exp
from neumap.io.bags.reader import BagReader
from neumap.io.bags.writer import BagWriter
from neumap.io.image_messages import gray_of
from neumap.io.stamps import stamp_of
from neumap.records import Camera
from neumap.replay.rig import Timed
from neumap.replay.run import ReplaySettings, replay
from neumap.tracking.diagnosis import OK, WARN, diagnose

# FIRST, COUNT: images of the drive where the other camera, too, sees what was mapped
FIRST, COUNT = 148, 15
TURNED = make_pose(rotation_exp(np.array([0.0, 0.0, np.pi])), np.zeros(3))
# a fisheye lens beside a pinhole, and larger images
FISHEYE = make_camera(400, 300, [200.0, 0, 199.5, 0, 200.0, 149.5, 0, 0, 1], "equidistant", [0.02, -0.01, 0.0, 0.0])
BLANK = np.full((240, 320), 128, np.uint8)


@dataclass(frozen=True)
class Eye:
    """A camera on the robot: what it sees on its way, under which name and frame, and where it sits."""

    name: str
    base_from_camera: FloatArray
    sees: Drive

    def seeing(self, change: Callable[[ImageArray, int], ImageArray]) -> Eye:
        """Its images changed."""
        images = tuple(change(image, i) for i, image in enumerate(self.sees.images))
        return replace(self, sees=replace(self.sees, images=images))

    def says(self, late_ns: int = 0, delay_s: float = 0.0) -> Stream:
        """What it publishes, in a frame of its own; stamped ``late_ns`` after what it shows, and sent later."""
        out = []
        for each in streams.recorded(self.sees):
            if each.topic in (IMAGE, INFO):
                message = streams.decoded(each)
                message.header.frame_id = f"{self.name}_optical"
                message.header.stamp = streams.time_message(streams.stamp_of(message) + late_ns)
                time_ns = each.time_ns + late_ns + round(delay_s * SECOND)
                out.append(Recorded(time_ns, f"/{self.name}{each.topic}", message))
        return out

    def sits(self) -> Stream:
        """Where it is on the robot."""
        at = streams.START_NS - SECOND // 2
        link = streams.transform_message(at, "base_link", f"{self.name}_optical", self.base_from_camera)
        return [Recorded(at, TF_STATIC, link)]


def robot(*eyes: Eye, parts: Sequence[Stream] | None = None) -> Stream:
    """The stream of a robot with these cameras; ``parts``: what they publish, where that is something else."""
    carried = streams.without(streams.recorded(eyes[0].sees), IMAGE, INFO)
    told = [eye.says() for eye in eyes] if parts is None else parts
    return streams.in_order([*carried, *(each for eye in eyes for each in eye.sits()), *(m for p in told for m in p)])


class TwoEyes(Bench):
    """A bench for a robot with cameras of these names."""

    def __init__(self, virtual_map: Path, stream: Stream, names: Sequence[str] = ("front", "rear"), **given: Any):
        super().__init__(virtual_map, stream, camera_names=[*names], **given)
        self._stream = stream
        self.rig.start()

    def to_end(self, after_s: float = 0.5) -> None:
        """Play all that is left."""
        self.until((self._stream[-1].time_ns - streams.START_NS) / SECOND + after_s)

    def to_play(self, part: Stream) -> list[Timed]:
        out = []
        for each in part:
            name, _, role = each.topic[1:].partition("/")
            if role in ("image", "camera_info"):
                out.append(Timed(each.time_ns, role, each.message, name))
        return sorted([*out, *streams.to_play(part)], key=lambda each: each.time_ns)

    @property
    def errors_m(self) -> FloatArray:
        """How far the poses are off, all of which must be right."""
        outcome = outcome_of(self.rig, self._stream)
        assert_right(outcome)
        return np.asarray(np.linalg.norm(outcome.errors[:, :3], axis=1))

    @property
    def states(self) -> list[str]:
        """The states, without repetitions."""
        said = [status.state.name for status in self.statuses()]
        return [said[i] for i in range(len(said)) if i == 0 or said[i] != said[i - 1]]


def eye(name: str, base_from_camera: FloatArray, map_from_base: FloatArray, camera: Camera) -> Eye:
    return Eye(name, base_from_camera, streams.carried(0, camera, map_from_base, base_from_camera))


@pytest.fixture(scope="module")
def front() -> Eye:
    return Eye("front", BASE_FROM_CAMERA, streams.drive_through(0, FIRST, COUNT))


@pytest.fixture(scope="module")
def rear(front: Eye) -> Eye:
    return eye("rear", TURNED @ BASE_FROM_CAMERA, front.sees.map_from_base, front.sees.camera)


def through_a_slit(image: ImageArray, index: int, left: int, width: int) -> ImageArray:
    out = np.full_like(image, 128)
    out[:, left : left + width] = image[:, left : left + width]
    return out


def blank(image: ImageArray, index: int) -> ImageArray:
    return BLANK


@pytest.mark.parametrize("seeing", ["front", "rear"])
def test_a_camera_that_sees_nothing_does_not_disturb(virtual_map: Path, front: Eye, rear: Eye, seeing: str) -> None:
    eyes = [each if each.name == seeing else each.seeing(blank) for each in (front, rear)]
    b = TwoEyes(virtual_map, robot(*eyes))
    b.to_end()
    assert b.states == ["UNINITIALIZED", "TRACKING"]
    assert len(b.errors_m) > COUNT / 3
    # behind, a third as much of the map is seen
    assert np.median(b.errors_m) < (0.01 if seeing == "front" else 0.02)
    assert b.errors_m.max() < 0.03
    told = dict(diagnose(b.session).values)
    other = "rear" if seeing == "front" else "front"
    assert told[f"the last image of camera {seeing}"] == "gave a pose"
    assert "blank, dark or blurred" in told[f"the last image of camera {other}"]


def test_where_no_camera_sees_anything_the_state_says_so(virtual_map: Path, front: Eye, rear: Eye) -> None:
    """As soon as one of them has nothing to rely on; the images of one second may come from the other."""
    eyes = [each.seeing(lambda image, i: image if i < 7 else BLANK) for each in (front, rear)]
    b = TwoEyes(virtual_map, robot(*eyes))
    b.to_end()
    assert b.states == ["UNINITIALIZED", "TRACKING", "DEGRADED"]
    assert any("blank, dark or blurred" in reason for _, reason in b.told())
    degraded_ns = next(status.stamp_ns for status in b.statuses() if status.state.name == "DEGRADED")
    assert degraded_ns - streams.START_NS < 7 * PERIOD_NS + SECOND


def test_they_share_what_may_be_searched(virtual_map: Path, front: Eye, rear: Eye) -> None:
    """While tracked, one image serves a round: two cameras cost no more than one, and neither is left out."""
    b = TwoEyes(virtual_map, robot(front, rear))
    b.to_end()
    assert b.session.status().images_processed <= 1.25 * COUNT
    assert len(b.errors_m) >= COUNT - 3
    stamps = [fix.stamp_ns for fix in b.poses()]
    assert stamps == sorted(set(stamps))
    assert all(camera.told == "" for camera in b.session.cameras)


def test_a_silent_camera_holds_nothing_up(virtual_map: Path, front: Eye, rear: Eye) -> None:
    alone = TwoEyes(virtual_map, robot(front, parts=[front.says()]), names=("front",))
    alone.to_end()
    b = TwoEyes(virtual_map, robot(front, rear, parts=[front.says(), rear.says()[:4]]))
    b.until(0.7)
    assert not [camera.name for camera in b.session.cameras if camera.silent]
    b.until(2.0)
    diagnosis = diagnose(b.session)
    assert (diagnosis.level, diagnosis.message) == (WARN, "TRACKING; no image from camera rear")
    assert dict(diagnosis.values)["images per second of camera rear"] == "0.7"
    b.to_end()
    assert b.states == ["UNINITIALIZED", "TRACKING"]
    assert len(b.poses(1.5)) == len(alone.poses(1.5))
    assert b.errors_m.max() < 0.03
    assert diagnose(alone.session).level == OK


def test_lenses_and_sizes_may_differ(virtual_map: Path, front: Eye) -> None:
    fisheye = eye("rear", TURNED @ BASE_FROM_CAMERA, front.sees.map_from_base, FISHEYE)
    b = TwoEyes(virtual_map, robot(front.seeing(blank), fisheye))
    b.to_end()
    assert b.states == ["UNINITIALIZED", "TRACKING"]
    assert len(b.errors_m) > COUNT / 3
    assert np.median(b.errors_m) < 0.015


@pytest.mark.parametrize("odometry", ["odom", ""])
def test_what_no_camera_sees_alone_both_do(virtual_map: Path, front: Eye, rear: Eye, odometry: str) -> None:
    """The robot stands, with little in view of either camera."""
    eyes = []
    for each, left, width in ((front, 175, 25), (rear, 100, 70)):
        still = replace(each, sees=streams.standing(each.sees, 12, 5))
        eyes.append(still.seeing(partial(through_a_slit, left=left, width=width)))
    given = {"odom_frame_id": odometry, "accumulate_s": 0.1}
    for one in eyes:
        alone = TwoEyes(virtual_map, robot(one), names=(one.name,), **given)
        alone.to_end()
        assert not len(alone.errors_m)
    b = TwoEyes(virtual_map, robot(*eyes), **given)
    b.to_end()
    assert b.states == ["UNINITIALIZED", "TRACKING"]
    assert b.errors_m.max() < 0.02


def test_images_stamped_late(virtual_map: Path, front: Eye) -> None:
    """On a robot that turns by 40 degrees a second, 50 ms are 2 degrees."""
    turn = np.deg2rad(40.0) * PERIOD_NS / SECOND
    at = front.sees.map_from_base[5]
    turning = np.array([at @ make_pose(rotation_exp(np.array([0, 0, turn * (i - 5)])), np.zeros(3)) for i in range(12)])
    looks = eye("front", BASE_FROM_CAMERA, turning, front.sees.camera)
    stream = robot(looks, parts=[looks.says(late_ns=SECOND // 20)])
    off_deg = {}
    for offset in (0.0, -0.05):
        b = TwoEyes(virtual_map, stream, names=("front",), image_time_offset=[offset])
        b.to_end()
        errors = outcome_of(b.rig, stream).errors
        assert len(errors) > 6
        off_deg[offset] = np.rad2deg(np.median(np.abs(errors[:, 5])))
    assert off_deg[-0.05] < 0.3
    assert 1.5 < off_deg[0.0] < 2.5


@pytest.mark.parametrize("fault", ["calibration", "no calibration", "transform"])
def test_a_camera_that_cannot_be_used_is_named_once(virtual_map: Path, front: Eye, rear: Eye, fault: str) -> None:
    said = rear.says()
    if fault == "calibration":

        def break_(info: Any) -> Any:
            info.k = [0.0] * 9
            return info

        said = streams.changed(said, "/rear/camera_info", break_)
    elif fault == "no calibration":
        said = streams.without(said, "/rear/camera_info")
    stream = robot(front, rear, parts=[front.says(), said])
    if fault == "transform":
        stream = [each for each in stream if each not in rear.sits()]
    b = TwoEyes(virtual_map, stream)
    b.to_end()
    lines = [line for line in b.lines("WARN") if "rear" in line]
    expected = {
        "calibration": "WARN camera rear: camera_info cannot be used: ",
        "no calibration": "WARN camera rear: no camera_info yet",
        "transform": "WARN camera rear: no transform for the image: ",
    }[fault]
    assert len(lines) == 1
    assert lines[0].startswith(expected)
    assert b.states == ["UNINITIALIZED", "TRACKING"]
    # nor does it take a share of the rate
    assert len(b.errors_m) >= COUNT - 2


def test_two_cameras_in_one_place_are_told_of(virtual_map: Path, front: Eye, rear: Eye) -> None:
    """Where drivers name the same frame, the poses of one of them are wrong."""
    eyes = [front, replace(rear.seeing(blank), name="front")]
    said = [each._replace(topic=each.topic.replace("front", "rear")) for each in eyes[1].says()]
    b = TwoEyes(virtual_map, robot(front, parts=[front.says(), said]))
    b.until(0.6)
    assert b.lines("WARN") == [
        "WARN camera rear: its images are of the frame 'front_optical', as those of camera front: "
        "give each its own, or set camera_frame_id"
    ]


def test_whichever_camera_sees_the_place_answers(virtual_map: Path, front: Eye, rear: Eye) -> None:
    b = TwoEyes(virtual_map, robot(front.seeing(blank), rear))
    b.until(1.0)
    answer = b.relocalize()
    b.until(2.5)
    assert answer.result.success
    assert answer.result.inliers > 20
    truth = rear.sees.map_from_base[(answer.result.image_ns - streams.START_NS) // PERIOD_NS]
    assert np.linalg.norm(answer.result.fix.map_from_base[:3, 3] - truth[:3, 3]) < 0.03


def test_where_no_camera_sees_it_the_answer_says_why(virtual_map: Path, front: Eye, rear: Eye) -> None:
    b = TwoEyes(virtual_map, robot(front.seeing(blank), rear.seeing(blank)))
    b.until(1.0)
    answer = b.relocalize(timeout_s=1.0)
    b.until(2.5)
    assert not answer.result.success
    assert answer.result.reason == "only 0 keypoints: blank, dark or blurred image within 1 s"


def write_bag(path: Path, front: Eye, rear: Eye, names: Mapping[str, str] = {}) -> None:
    """Write a short drive on which the rear camera sees something; without the topics that ``names`` calls empty, the
    others as it names them.
    """
    eyes = [replace(each, sees=each.sees.part(4, 6)) for each in (front.seeing(blank), rear)]
    with BagWriter(path) as bag:
        for each in robot(*eyes):
            message, topic = streams.decoded(each), names.get(each.topic, each.topic)
            for name in {"k", "d", "r", "p"} & vars(message).keys():
                setattr(message, name, np.array(getattr(message, name), np.float64))
            if hasattr(message, "data"):
                message.data = np.frombuffer(message.data, np.uint8)
            if topic:
                bag.write(topic, message.__msgtype__, each.time_ns, message, topic == TF_STATIC)


def test_cameras_share_a_calibration_and_topics_may_be_no_names(
    virtual_map: Path, front: Eye, rear: Eye, tmp_path: Path
) -> None:
    info, images = "/calibration/camera_info", ["/rear-cam/image", "/front/image"]
    names = {"/rear/image": images[0], "/rear/camera_info": info, "/front/camera_info": ""}
    write_bag(tmp_path / "bag", front, rear, names)
    # the front one sees nothing
    settings = ReplaySettings(virtual_map, image_topics=images, camera_info_topics=[info, info])
    found = replay(tmp_path / "bag", tmp_path / "out", settings, lambda *_: None)
    assert found.poses > 2
    assert "camera camera_1: intrinsics: K of camera_info" in (tmp_path / "out" / "log.txt").read_text()
    twice = ReplaySettings(virtual_map, image_topics=images[:1] * 2)
    with pytest.raises(ConfigError, match=r"^--image-topic names a topic twice: /rear-cam/image, /rear-cam/image$"):
        replay(tmp_path / "bag", tmp_path / "out", twice, lambda *_: None)


def test_a_bag_of_two_cameras(virtual_map: Path, front: Eye, rear: Eye, tmp_path: Path) -> None:
    """Named by the parameters, or by their topics: the same poses, bit by bit."""
    pytest.importorskip("evo")
    write_bag(tmp_path / "bag", front, rear)
    params, unknown = tmp_path / "params.yaml", tmp_path / "unknown.yaml"
    params.write_text("/**:\n  ros__parameters:\n    camera_names: [front, rear]\n")
    unknown.write_text("/**:\n  ros__parameters:\n    camera_names: [left]\n")
    images = ["/front/image", "/rear/image"]

    def poses(**given: Any) -> bytes:
        out = tmp_path / str(len([*tmp_path.iterdir()]))
        replay(tmp_path / "bag", out, ReplaySettings(virtual_map, **given), lambda *_: None)
        assert re.search(r"camera rear(/image)?: intrinsics: K of camera_info", (out / "log.txt").read_text())
        return (out / "poses.txt").read_bytes()

    by_name, by_topic = poses(params=params), poses(params=None, image_topics=images)
    assert by_name.count(b"\n") > 2
    assert by_name == by_topic
    nowhere = r"^no topic of images has /left/ in its name, .*; there are /front/image, /rear/image$"
    with pytest.raises(ConfigError, match=nowhere):
        poses(params=unknown)
    with pytest.raises(ConfigError, match=r"^--camera-info-topic is given 1 times for 2 cameras: once for each"):
        poses(image_topics=images, camera_info_topics=["/front/camera_info"])


@pytest.mark.parametrize("names", [("front", "rear"), ("rear",)])
def test_each_camera_has_topics_of_its_own_in_the_output(
    virtual_map: Path, front: Eye, rear: Eye, tmp_path: Path, names: Sequence[str]
) -> None:
    """Images of both have the same stamps, those of the front one are blank; a single camera has those of the node."""
    write_bag(tmp_path / "bag", front, rear)
    settings = ReplaySettings(virtual_map, tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text(f"/**:\n  ros__parameters:\n    camera_names: [{', '.join(names)}]\n")
    replay(tmp_path / "bag", tmp_path / "out", settings, lambda *_: None)
    node, found = "/neumap_localizer", dict[str, list[Any]]()
    with BagReader(tmp_path / "out" / "replay") as bag:
        topics = [topic for topic in bag.topics if topic.name.endswith(("/inliers", "/image/compressed"))]
        for message in bag.messages(topics):
            found.setdefault(message.topic.name, []).append(bag.decode(message))
    prefixes = {name: f"{node}/{name}" if len(names) > 1 else node for name in names}
    assert set(found) == {f"{prefixes[name]}/{kind}" for name in names for kind in ("inliers", "image/compressed")}
    for name in names:
        images, clouds = found[f"{prefixes[name]}/image/compressed"], found[f"{prefixes[name]}/inliers"]
        assert [stamp_of(image.header) for image in images] == [stamp_of(cloud.header) for cloud in clouds]
        assert {image.header.frame_id for image in images} == {f"{name}_optical"}
        assert all((gray_of(image).std() > 10) == (name == "rear") for image in images)
        assert (max(cloud.width for cloud in clouds) > 20) == (name == "rear")
