"""What a session acquires and gives back, its parameters, and what it publishes when."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

import streams
from bench import Bench
from streams import Drive

from neumap.errors import ConfigError, MapFileError
from neumap.tracking.diagnosis import ERROR, OK, WARN, diagnose

MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(virtual_map: Path, drive: Drive) -> MakeBench:
    """Makes a session that is not active yet, and a stream of a few images of a robot that stands."""

    def make(images: int = 4, **parameters: Any) -> Bench:
        return Bench(virtual_map, streams.recorded(streams.standing(drive, 2, images)), **parameters)

    return make


def test_active_and_inactive_twice(bench: MakeBench) -> None:
    b = bench(images=9)
    at = 0.0
    for _ in range(2):
        count = b.said()
        b.until(at + 0.1)
        assert b.said() == count, "something was published while inactive"
        b.rig.start()
        b.until(at + 0.7)
        assert b.state == "TRACKING"
        assert b.poses(at)
        assert b.transforms(at)
        b.session.deactivate()
        at += 0.8
    count = b.said()
    b.until(at + 1.0)
    assert b.said() == count
    assert b.lines("ERROR") == []


def test_a_pose_less_certain_than_asked_for_is_not_believed(bench: MakeBench) -> None:
    b = bench(max_sigma_m=0.001)
    b.rig.start()
    b.until(0.7)
    assert (b.state, b.poses(0.0)) == ("UNINITIALIZED", [])
    assert b.statuses()[-1].reason.endswith("m, more than 0.001 m")


def test_activating_starts_anew(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    assert b.told() == [("UNINITIALIZED", "no image on 'image' yet")]
    b.until(0.7)
    assert b.statuses()[-1].images_processed >= 2
    b.session.deactivate()
    b.rig.start()
    status = b.statuses()[-1]
    assert (status.state.value, status.reason) == (0, "no image on 'image' yet")
    assert (status.images_processed, status.images_dropped, status.age_s) == (0, 0, -1.0)


def test_a_map_that_cannot_be_used(bench: MakeBench, drive: Drive, tmp_path: Path) -> None:
    with pytest.raises(MapFileError, match="set the parameter 'map'"):
        Bench("", [])  # type: ignore[arg-type]
    with pytest.raises(MapFileError, match=r"missing\.neumap"):
        Bench(tmp_path / "missing.neumap", [])


def test_deactivating_while_an_image_is_in_work(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(0.1)
    assert b.statuses()[-1].images_processed == 0
    count = b.said()
    b.session.deactivate()
    b.until(1.0)
    assert b.said() == count


@pytest.mark.parametrize("again", [False, True])
def test_deactivating_while_an_image_waits_for_transforms(bench: MakeBench, again: bool) -> None:
    b = bench(transform_timeout=1.0)
    b.drop(streams.TF)
    b.rig.start()
    b.until(0.2)
    # that of 0.0 s has been searched
    assert b.statuses()[-1].images_processed == 0
    count = b.said()
    b.session.deactivate()
    b.skip(10.0)
    if again:
        b.rig.start()
    b.until(1.5)
    assert b.said() == count + again
    assert b.lines("ERROR") == []


def test_a_map_that_is_not_used_any_more_is_freed(bench: MakeBench, virtual_map: Path) -> None:
    b = bench()
    b.rig.start()
    first = weakref.ref(b.session.map.map)
    loaded = b.load_map(virtual_map)
    b.until(0.7)
    assert loaded.result.success
    gc.collect()
    assert first() is None


# --- parameters -------------------------------------------------------------------------


def test_parameters_that_cannot_be_are_refused(bench: MakeBench) -> None:
    with pytest.raises(ConfigError, match="no leading slash"):
        bench(odom_frame_id="/odom")
    with pytest.raises(ConfigError, match="there is no parameter lost_afer"):
        bench(lost_afer=1.0)
    b = bench()
    with pytest.raises(ConfigError, match="clean it up"):
        b.rig.set("base_frame_id", "robot")


def test_the_transforms_rate_can_be_changed(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(1.0)
    b.until(1.5)
    slow = len(b.transforms(1.0))
    b.rig.set("tf_publish_rate", 100.0)
    # the change counts from the next time on
    b.until(1.6)
    b.until(2.1)
    assert slow == pytest.approx(10, abs=1)
    assert len(b.transforms(1.6)) == pytest.approx(50, abs=1)


def test_the_transform_can_be_switched_off_and_on(bench: MakeBench) -> None:
    b = bench(images=10)
    b.rig.start()
    b.until(0.5)
    assert b.transforms()
    b.rig.set("tf_broadcast", False)
    b.until(1.0)
    assert b.transforms(0.5) == []
    assert b.poses(0.5)
    b.rig.set("tf_broadcast", True)
    b.until(1.2)
    assert b.transforms(1.0)


def test_the_transform_is_stamped_ahead(bench: MakeBench) -> None:
    b = bench(transform_tolerance=0.35)
    b.rig.start()
    b.until(0.7)
    assert {sent.child_frame for sent in b.transforms()} == {"odom"}
    assert {sent.stamp_ns - time_ns for time_ns, sent in b.out.transforms} == {350_000_000}
    b.rig.set("transform_tolerance", 0.0)
    b.until(0.8)
    time_ns, sent = b.out.transforms[-1]
    assert sent.stamp_ns == time_ns


# --- what is published when ---------------------------------------------------------------


def test_a_status_after_each_image(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(0.8)
    of_images = [status for status in b.statuses() if status.latency_s]
    assert len(of_images) == 4
    for number, status in enumerate(of_images, start=1):
        assert status.state.name == "TRACKING"
        assert status.images_processed == number
        assert status.inliers > 20
        assert 0 < status.reprojection_error_px < 5
        assert status.age_s == 0.0
        # 0.03 s on the way, 0.1 s in work
        assert status.latency_s == pytest.approx(0.13)
        assert status.map_id == b.session.map_id
    assert [status.stamp_ns for status in of_images] == [fix.stamp_ns for fix in b.poses()]


def test_what_is_looked_at_can_be_shown(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench(images=2)
    shown: list[Any] = []
    monkeypatch.setattr(b.out, "inspected", shown.append)
    b.rig.start()
    b.until(0.5)
    assert [each.frame.stamp_ns for each in shown] == [fix.stamp_ns for fix in b.poses()]
    assert {each.frame.frame_id for each in shown} == {streams.CAMERA_FRAME}
    assert all(each.pixels.shape == (240, 320) and each.estimate.inliers > 20 for each in shown)


def test_diagnostics_follow_the_state(bench: MakeBench) -> None:
    b = bench(images=10)
    assert diagnose(None).message == "not configured"
    assert (diagnose(b.session).level, diagnose(b.session).message) == (WARN, "not active")
    b.rig.start()
    b.until(2.0)
    diagnosis = diagnose(b.session)
    assert (diagnosis.level, diagnosis.message) == (OK, "TRACKING")
    values = dict(diagnosis.values)
    assert values["map id"] == b.session.map_id
    assert int(values["images processed"]) == b.statuses()[-1].images_processed
    assert values["latency of the last image in seconds"] == "0.13"
    assert values["latency of 95 of 100 images in seconds, of the last 10 s"] == "0.13"
    assert values["work on an image in seconds, median"] == "0.100"
    # ten since a second before the first
    assert values["images per second"] == values["images processed per second"] == "3.3"
    assert "metres from the other localizer" not in values
    b.until(4.2)
    assert (diagnose(b.session).level, diagnose(b.session).message) == (WARN, "DEGRADED: no image since 1 s")
    b.until(7.0)
    assert (diagnose(b.session).level, diagnose(b.session).message) == (ERROR, "LOST: no image since 1 s")
    b.session.deactivate()
    assert diagnose(b.session).message == "not active"
    # once a second
    assert len(b.out.diagnoses) == pytest.approx(8, abs=1)
