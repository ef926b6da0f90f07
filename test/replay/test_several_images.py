"""Images of which none shows enough, put together by odometry while the robot is not tracked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from bench import Bench, claimed
from outcomes import Outcome, assert_right, outcome_of, same_poses
from streams import Drive, Stream, recorded

from neumap.arrays import ImageArray
from neumap.replay.rig import Rig

# what of an image of 320 pixels is seen, now here and now there, as through a fence; none of the first is localized
SLIT_PX, FIRST, COUNT = 40, 9, 8


def through_a_slit(image: ImageArray, index: int) -> ImageArray:
    out = np.full_like(image, 128)
    left = int((image.shape[1] - SLIT_PX) * ((0.37 * index) % 1.0))
    out[:, left : left + SLIT_PX] = image[:, left : left + SLIT_PX]
    return out


@pytest.fixture(scope="module")
def narrow(drive: Drive) -> Drive:
    images = tuple(through_a_slit(image, i) for i, image in enumerate(drive.images))
    return replace(drive, images=images).part(FIRST, COUNT)


def run(virtual_map: Path, stream: Stream, accumulate_s: float) -> Outcome:
    rig = Rig({"map": str(virtual_map), "accumulate_s": accumulate_s}, streams.begin_of(stream), 0.05)
    rig.start()
    rig.play(streams.to_play(stream), after_s=0.1)
    outcome = outcome_of(rig, stream)
    assert_right(outcome)
    return outcome


def test_what_no_image_shows_alone_several_show_together(virtual_map: Path, narrow: Drive) -> None:
    stream = recorded(narrow)
    assert not len(run(virtual_map, stream, 0.0).errors)
    outcome = run(virtual_map, stream, 2.0)
    assert len(outcome.errors)
    assert (np.linalg.norm(outcome.errors[:, :3], axis=1) < 0.05).all()
    sigmas = [float(np.sqrt(np.trace(covariance[:3, :3]))) for covariance in outcome.log.covariances]
    assert max(sigmas) < 0.1
    assert same_poses(outcome, run(virtual_map, stream, 2.0))


def test_without_odometry_they_are_not_put_together(virtual_map: Path, narrow: Drive) -> None:
    stream = recorded(narrow)
    rig = Rig({"map": str(virtual_map), "odom_frame_id": ""}, streams.begin_of(stream), 0.05)
    rig.start()
    rig.play(streams.to_play(stream), after_s=0.1)
    outcome = outcome_of(rig, stream)
    assert not len(outcome.errors)
    assert outcome.processed == COUNT


@pytest.mark.parametrize("event", ["start over", "claim", "ask"])
def test_images_from_before_somebody_moved_the_robot_do_not_count(virtual_map: Path, narrow: Drive, event: str) -> None:
    """Whoever asks means what is seen from now on."""
    bench = Bench(virtual_map, recorded(narrow))
    bench.rig.start()
    before = 0.2 * 3 + 0.1
    bench.until(before)
    assert len(bench.session._sight.recent.kept) > 1
    if event == "start over":
        bench.reinitialize()
    elif event == "ask":
        bench.relocalize()
    else:
        bench.session.claim(claimed(narrow.map_from_base[3]))
    assert not bench.session._sight.recent.kept


def test_images_from_elsewhere_are_not_put_together_into_a_pose(
    virtual_map: Path, drive: Drive, elsewhere: Drive, narrow: Drive
) -> None:
    """Odometry does not tell that the robot was carried."""
    images = tuple(through_a_slit(image, i) for i, image in enumerate(elsewhere.images))
    mixed = tuple(narrow.images[i] if i % 4 else images[i] for i in range(COUNT))
    outcome = run(virtual_map, recorded(replace(narrow, images=mixed)), 2.0)
    metres = np.linalg.norm(outcome.errors[:, :3], axis=1)
    assert (metres < 0.1).all()
