"""Transforms that are missing, late or wrong, and a robot without odometry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from outcomes import Outcome, same_poses
from streams import (
    CAMERA_FRAME,
    IMAGE,
    TF,
    TF_STATIC,
    Drive,
    changed,
    dropped,
    frozen_odometry,
    late,
    late_tf,
    recorded,
    without,
)

from neumap.geometry.se3 import make_pose
from neumap.io.stamps import stamp_of
from neumap.replay.rig import Rig

OPTICAL_FROM_BODY = make_pose(np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]), np.zeros(3))
Replayed = Callable[..., Outcome]

NO_IMAGE = ("UNINITIALIZED", "no image on 'image' yet")
FUTURE = "no transform for the image: .*extrapolation into the future"


@pytest.mark.parametrize(
    ("topic", "frame"), [(TF, "odom"), (TF_STATIC, streams.CAMERA_FRAME)], ids=["odometry", "camera"]
)
def test_missing(replayed: Replayed, drive: Drive, topic: str, frame: str) -> None:
    outcome = replayed(without(recorded(drive.part(0, 5)), topic))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", f'no transform for the image: .*"?{frame}"?'))
    assert len(outcome.log.poses) == len(outcome.log.transform_ns) == 0
    assert outcome.processed >= 2


def test_images_of_a_body_frame(replayed: Replayed, drive: Drive) -> None:
    """The camera's frame has x forward and z up, as its link has it."""

    def of_the_link(content: Any) -> Any:
        pose = streams.transform_of(content.transforms[0].transform) @ OPTICAL_FROM_BODY
        return streams.transform_message(stamp_of(content.transforms[0].header), "base_link", CAMERA_FRAME, pose)

    outcome = replayed(changed(recorded(drive.part(0, 5)), TF_STATIC, of_the_link))
    outcome.tells(
        NO_IMAGE,
        (
            "UNINITIALIZED",
            f"the robot would lie on its side: the images' frame '{CAMERA_FRAME}' has x forward, as body frames",
        ),
    )
    assert len(outcome.log.poses) == len(outcome.log.transform_ns) == 0


def test_missing_at_first(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(dropped(recorded(drive.part(0, 10)), TF, to_s=0.9))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "no transform for the image"), ("TRACKING", ""))


def test_static_transform_comes_late(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(late(recorded(drive.part(0, 10)), TF_STATIC, 1.5))
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "no transform for the image"), ("TRACKING", ""))


def test_stops(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(dropped(recorded(drive.part(0, 18)), TF, from_s=0.95), lost_after=1.5)
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", FUTURE), ("LOST", FUTURE))
    assert len(outcome.log.poses) == 5
    ((lost, _),) = outcome.times_of("LOST")
    assert outcome.log.transform_ns.max() <= lost


def test_stops_and_goes_on(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(dropped(recorded(drive.part(0, 16)), TF, 0.95, 2.2))
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", FUTURE), ("TRACKING", ""))


def test_late(replayed: Replayed, drive: Drive) -> None:
    """Images wait for it: the same poses as when it is in time."""
    stream = recorded(drive.part(0, 8))
    in_time, outcome = replayed(stream), replayed(late_tf(stream, 0.15))
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert len(outcome.log.poses) == 8
    assert same_poses(in_time, outcome)


def test_too_late(replayed: Replayed, drive: Drive) -> None:
    """Later than an image waits, even if it waited for its turn before."""
    stream = late_tf(recorded(drive.part(0, 8)), 0.7)
    last_ns = streams.on(stream, IMAGE)[-1].time_ns
    outcome = replayed([each for each in stream if each.time_ns <= last_ns])
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "no transform for the image"))
    assert len(outcome.log.poses) == 0


def test_too_late_for_the_parameter(replayed: Replayed, drive: Drive) -> None:
    stream = late_tf(recorded(drive.part(0, 6)), 0.25)
    assert len(replayed(stream).log.poses) > 0
    outcome = replayed(stream, transform_timeout=0.05)
    outcome.tells(NO_IMAGE, ("UNINITIALIZED", "no transform for the image"))


def test_odometry_frozen(replayed: Replayed, drive: Drive) -> None:
    """The wheels say that the robot stands while it drives 0.6 m/s: the transform takes it all."""
    stream = frozen_odometry(recorded(drive.part(0, 20)), 1.0)
    outcome = replayed(stream)
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert len(outcome.log.poses) == 20
    odometry, truth = streams.odometry_of(stream), streams.truth_of(stream)
    last = outcome.log.map_from_odom[-1] @ odometry.map_from_camera[-1]
    assert last[:3, 3] == pytest.approx(truth.map_from_camera[-1][:3, 3], abs=0.05)


def test_odometry_that_jumps(replayed: Replayed, drive: Drive) -> None:
    """Odometry goes on from another place, as when its node is restarted; the camera says that nothing happened."""

    def moved(by_m: float) -> streams.Stream:
        offset = np.eye(4)
        offset[0, 3] = by_m
        return streams.moved_odometry(recorded(drive.part(0, 10)), lambda pose: offset @ pose, from_s=0.95)

    near, far = replayed(moved(1.0)), replayed(moved(5.0))
    doubt = "the image says {}.* m, 0 deg from where odometry does"
    near.tells(
        NO_IMAGE,
        ("TRACKING", ""),
        ("DEGRADED", doubt.format(1) + r" \(1 of 3 images\)"),
        ("DEGRADED", doubt.format(1) + r" \(2 of 3 images\)"),
        ("TRACKING", r"jumped [01]\..* m, 0 deg: 3 images agreed"),
        ("TRACKING", ""),
    )
    # that far without a pose there is none left to compare with
    far.tells(NO_IMAGE, ("TRACKING", ""), ("LOST", doubt.format(5)), ("TRACKING", ""))


def test_no_odometry(replayed: Replayed, drive: Drive) -> None:
    outcome = replayed(without(recorded(drive.part(0, 8)), TF), odom_frame_id="")
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert outcome.tf_children == {"base_link"}
    assert len(outcome.log.poses) == 8
    assert outcome.log.map_from_odom[-1] == pytest.approx(outcome.log.poses.map_from_camera[-1], abs=1e-9)


def test_no_odometry_and_covered(replayed: Replayed, drive: Drive) -> None:
    stream = streams.covered(without(recorded(drive.part(0, 16)), TF), 0.9, 2.5)
    outcome = replayed(stream, odom_frame_id="", lost_after=1.0)
    blank = "only 0 keypoints"
    outcome.tells(NO_IMAGE, ("TRACKING", ""), ("DEGRADED", blank), ("LOST", blank), ("TRACKING", ""))


def test_images_without_frame(replayed: Replayed, drive: Drive) -> None:
    def nameless(image: object) -> object:
        image.header.frame_id = ""  # type: ignore[attr-defined]
        return image

    stream = changed(recorded(drive.part(0, 4)), IMAGE, nameless)
    refused = replayed(stream)
    refused.tells(NO_IMAGE, ("UNINITIALIZED", "^the images have no frame_id: set the parameter camera_frame_id$"))
    assert len(refused.log.poses) == 0
    outcome = replayed(stream, camera_frame_id=streams.CAMERA_FRAME)
    outcome.tells(NO_IMAGE, ("TRACKING", ""))
    assert len(outcome.log.poses) == 4


def test_two_publish_odometry(replayed: Replayed, drive: Drive) -> None:
    """Wheels and a filter that do not agree: diagnostics and log say so."""
    aside = np.eye(4)
    aside[1, 3] = 0.3
    stream = recorded(drive.part(0, 12))
    second = streams.late_tf(streams.moved_odometry(stream, lambda pose: aside @ pose), 0.0)
    second = streams.shifted([each for each in second if each.topic == TF], 0.02)
    rigs: list[Rig] = []
    outcome = replayed(streams.in_order([*stream, *second]), before=rigs.append)
    told = "the link odom -> base_link of /tf goes to and fro by 31 cm, as if two published it, at 20 and 20 Hz"
    assert outcome.logged(f"WARN {told}")
    last = rigs[0].out.diagnoses[-1][1]
    assert last.level >= 1
    assert last.message.endswith(told)
    assert not any("to and fro" in line for line in replayed(stream).log_lines)
