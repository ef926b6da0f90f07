"""What the node acquires and gives back in each transition, its parameters, and what it publishes when."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags")

import streams
from bench import STATUS, Bench, stamps
from streams import Drive

from neumap.cli.replay import NODE, localizer_rig
from neumap_ros.simulator.rclpy.lifecycle import TransitionCallbackReturn
from neumap_ros.simulator.rclpy.parameter import Parameter

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
MakeBench = Callable[..., Bench]
# what every lifecycle node has, and what diagnostics need once for all
ALWAYS = {"/rosout", "/parameter_events", f"/{NODE}/transition_event", "/diagnostics"}
PUBLISHED = {"/pose", "/tf"} | {f"/{NODE}/{name}" for name in ("status", "inliers", "debug_image", "voxels")}
SUBSCRIBED = {"/image", "/camera_info", "/initialpose", "/tf", "/tf_static"}
SERVED = {f"/{NODE}/relocalize", f"/{NODE}/load_map", "/reinitialize_global_localization"}


@pytest.fixture
def bench(virtual_map: Path, drive: Drive) -> Iterator[MakeBench]:
    """Makes a node that is not configured yet, and a stream of a few images of a robot that stands."""
    rigs: list[Any] = []

    def make(images: int = 4, **parameters: Any) -> Bench:
        rig = localizer_rig({"map": str(virtual_map)} | parameters)
        rigs.append(rig)
        rig.__enter__()
        return Bench(rig, streams.recorded(streams.standing(drive, 2, images)))

    yield make
    for rig in rigs:
        rig.__exit__()


def published_topics(bench: Bench) -> set[str]:
    return {name for name, _ in bench.node.get_publisher_names_and_types_by_node(NODE, "/")} - ALWAYS


def subscribed_topics(bench: Bench) -> set[str]:
    found = {name for name, _ in bench.node.get_subscriber_names_and_types_by_node(NODE, "/")}
    return found - {"/clock"}


def own_services(bench: Bench) -> set[str]:
    # they go a moment later than the rest, so that open calls are answered
    bench.rig.executor.spin_until_idle()
    return {name for name, _ in bench.node.get_service_names_and_types_by_node(NODE, "/")} & SERVED


def timers(bench: Bench) -> int:
    """Those of the node's own: diagnostics have one."""
    return len(list(bench.node.timers)) - (1 if bench.node.count_publishers("/diagnostics") else 0)


def test_all_transitions_twice(bench: MakeBench) -> None:
    b = bench(images=17)
    node = b.node
    at = 0.0
    for _ in range(2):
        assert published_topics(b) == subscribed_topics(b) == own_services(b) == set()
        assert (timers(b), list(node.guards)) == (0, [])
        assert node.trigger_configure() is SUCCESS
        assert (published_topics(b), subscribed_topics(b), own_services(b)) == (PUBLISHED, SUBSCRIBED, SERVED)
        assert timers(b) == 0
        for _ in range(2):
            count = len(b.rig.published)
            b.until(at + 0.1)
            assert {m.topic for m in b.rig.published[count:]} <= ALWAYS, "something was published while inactive"
            assert node.trigger_activate() is SUCCESS
            assert timers(b) == 1
            b.until(at + 0.7)
            assert b.state == "TRACKING"
            assert b.poses(at)
            assert b.transforms(at)
            assert node.trigger_deactivate() is SUCCESS
            assert timers(b) == 0
            at += 0.8
        assert node.trigger_cleanup() is SUCCESS
    assert published_topics(b) == subscribed_topics(b) == own_services(b) == set()
    assert b.lines("ERROR") == []


def test_reconfiguring_starts_anew(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    assert b.told() == [("UNINITIALIZED", "no image on 'image' yet")]
    b.until(0.7)
    assert b.statuses()[-1].images_processed >= 2
    b.node.trigger_deactivate()
    b.node.trigger_activate()
    status = b.statuses()[-1]
    assert (status.state, status.reason) == (0, "no image on 'image' yet")
    assert (status.images_processed, status.images_dropped, status.age) == (0, 0, -1.0)


@pytest.fixture(params=["missing", "folder", "none", "truncated", "altered", "of nobody", "text"])
def bad_map(request: pytest.FixtureRequest, virtual_map: Path, tmp_path: Path) -> tuple[str, str]:
    """The path of a map that cannot be used, and a part of what must be said of it."""
    path = tmp_path / "bad.neumap"
    return {
        "missing": lambda: (str(path), "bad.neumap"),
        "folder": lambda: (str(tmp_path), str(tmp_path)),
        "none": lambda: ("", "set the parameter 'map'"),
        "truncated": lambda: (written(path, virtual_map.read_bytes()[:-100]), "bad.neumap"),
        "altered": lambda: (written(path, altered(virtual_map.read_bytes())), "bad.neumap"),
        "of nobody": lambda: ("~nobody_of_this_name/bad.neumap", "bad.neumap"),
        "text": lambda: (written(path, b"a map of the kitchen"), "bad.neumap"),
    }[request.param]()


def written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def altered(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_configuring_with_a_bad_map_fails_and_can_be_tried_again(
    bench: MakeBench, bad_map: tuple[str, str], virtual_map: Path
) -> None:
    path, said = bad_map
    b = bench(map=path)
    for _ in range(2):
        count = len(b.rig.log_lines)
        assert b.node.trigger_configure() is FAILURE
        (line,) = b.rig.log_lines[count:]
        assert line.startswith("ERROR not configured: ")
        assert said in line
        assert "\n" not in line
        assert published_topics(b) == subscribed_topics(b) == own_services(b) == set()
    assert b.set("map", str(virtual_map)).successful
    assert b.node.trigger_configure() is SUCCESS
    assert b.node.trigger_activate() is SUCCESS


@pytest.mark.parametrize("steps", [[], ["configure"], ["configure", "activate"], ["configure", "activate", "stop"]])
def test_shutdown_from_every_state(bench: MakeBench, steps: list[str]) -> None:
    b = bench()
    for step in steps:
        trigger = {"configure": b.node.trigger_configure, "activate": b.node.trigger_activate}
        assert trigger.get(step, b.node.trigger_deactivate)() is SUCCESS
        if step == "activate":
            b.until(0.3)
    assert b.node.trigger_shutdown() is SUCCESS
    assert published_topics(b) == subscribed_topics(b) == own_services(b) == set()
    assert (timers(b), list(b.node.guards)) == (0, [])
    count = len(b.rig.published)
    b.until(0.8)
    assert {m.topic for m in b.rig.published[count:]} <= ALWAYS
    assert b.lines("ERROR") == []


def test_deactivating_while_an_image_is_in_work(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(0.1)
    assert b.statuses()[-1].images_processed == 0
    count = len(b.rig.published)
    assert b.node.trigger_deactivate() is SUCCESS
    b.until(1.0)
    assert {m.topic for m in b.rig.published[count:]} <= ALWAYS


@pytest.mark.parametrize("further", ["deactivate", "cleanup", "again"])
def test_deactivating_while_an_image_waits_for_transforms(bench: MakeBench, further: str) -> None:
    b = bench(transform_timeout=1.0)
    b.drop(streams.TF)
    b.rig.start()
    b.until(0.2)
    # that of 0.0 s has been searched
    assert b.statuses()[-1].images_processed == 0
    count = len(b.rig.published)
    assert b.node.trigger_deactivate() is SUCCESS
    if further == "cleanup":
        assert b.node.trigger_cleanup() is SUCCESS
    b.skip(10.0)
    if further == "again":
        assert b.node.trigger_activate() is SUCCESS
    b.until(1.5)
    if further == "again":
        assert b.told(0.2) == []
        assert b.statuses()[-1].images_processed == 0
    else:
        assert {m.topic for m in b.rig.published[count:]} <= ALWAYS
    assert timers(b) == (1 if further == "again" else 0)
    assert b.lines("ERROR") == []


def test_cleanup_frees_the_map(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(0.7)
    engine = weakref.ref(b.node.session.engine)
    neural_map = weakref.ref(b.node.session.engine.map)
    b.node.trigger_deactivate()
    b.node.trigger_cleanup()
    b.until(1.0)
    gc.collect()
    assert engine() is None
    assert neural_map() is None


def test_cleanup_frees_a_map_that_was_loaded_later(bench: MakeBench, virtual_map: Path) -> None:
    b = bench()
    b.rig.start()
    first = weakref.ref(b.node.session.engine)
    future = b.load_map(virtual_map)
    b.until(0.7)
    assert future.result().success
    gc.collect()
    assert first() is None
    second = weakref.ref(b.node.session.engine)
    del future
    b.node.trigger_deactivate()
    b.node.trigger_cleanup()
    b.until(1.0)
    gc.collect()
    assert second() is None


# --- parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tf_publish_rate", 0.0),
        ("transform_tolerance", -0.1),
        ("transform_timeout", 5.1),
        ("max_image_rate", -1.0),
        ("jump_images", 1),
        ("voxel_radius", float("nan")),
        ("initial_pose.x", float("inf")),
        ("lost_after", 3),
        ("tf_broadcast", 1),
        ("tf_publish_rate", "fast"),
    ],
)
def test_values_that_cannot_be_are_refused_with_a_reason(bench: MakeBench, name: str, value: Any) -> None:
    b = bench()
    before = b.node.get_parameter(name).value
    for _ in range(2):
        result = b.set(name, value)
        assert not result.successful
        assert result.reason
        assert b.node.get_parameter(name).value == before
        # the same while it runs
        if b.node.session is None:
            b.rig.start()


def test_names_and_choices_are_checked_while_not_configured(bench: MakeBench) -> None:
    b = bench()
    for name, value, said in (
        ("image_transport", "theora", "instead of one of raw, compressed"),
        ("base_frame_id", "", "must not be empty"),
        ("odom_frame_id", "/odom", "no leading slash"),
    ):
        result = b.set(name, value)
        assert not result.successful
        assert said in result.reason


@pytest.mark.parametrize(("name", "value"), [("base_frame_id", "/base"), ("image_transport", "theora")])
def test_names_and_choices_of_a_parameter_file_are_checked_by_configuring(
    bench: MakeBench, name: str, value: str
) -> None:
    b = bench(**{name: value})
    assert b.node.trigger_configure() is FAILURE
    (line,) = b.lines("ERROR")
    assert name in line
    assert b.set(name, "base_link" if name == "base_frame_id" else "raw").successful
    assert b.node.trigger_configure() is SUCCESS


@pytest.mark.parametrize(
    ("name", "value"),
    [("map", "other.neumap"), ("base_frame_id", "robot"), ("image_transport", "compressed"), ("threads", 2)],
)
def test_fixed_parameters_can_be_set_only_while_not_configured(bench: MakeBench, name: str, value: Any) -> None:
    b = bench()
    before = b.node.get_parameter(name).value
    assert b.set(name, value).successful
    assert b.set(name, before).successful
    b.rig.start()
    for step in (lambda: None, b.node.trigger_deactivate):
        step()
        result = b.set(name, value)
        assert not result.successful
        assert name in result.reason
        assert b.node.get_parameter(name).value == before
    b.node.trigger_cleanup()
    assert b.set(name, value).successful


def test_several_at_once_are_set_together_or_not_at_all(bench: MakeBench) -> None:
    b = bench()
    changes = [Parameter("tf_publish_rate", value=50.0), Parameter("base_frame_id", value="")]
    assert not b.node.set_parameters_atomically(changes).successful
    assert b.node.get_parameter("tf_publish_rate").value == 20.0


def test_the_transforms_rate_can_be_changed(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(1.0)
    b.until(1.5)
    slow = len(b.transforms(1.0))
    assert b.set("tf_publish_rate", 100.0).successful
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
    assert b.set("tf_broadcast", False).successful
    b.until(1.0)
    assert b.transforms(0.5) == []
    assert b.poses(0.5)
    assert b.set("tf_broadcast", True).successful
    b.until(1.2)
    assert b.transforms(1.0)


def test_the_transform_is_stamped_ahead(bench: MakeBench) -> None:
    b = bench(transform_tolerance=0.35)
    b.rig.start()
    b.until(0.7)
    (children,) = {(t.header.frame_id, t.child_frame_id) for t in b.transforms()}
    assert children == ("map", "odom")
    for each, transform in zip(b.timed("/tf"), b.transforms(), strict=True):
        assert stamps([transform])[0] - each.time_ns == 350_000_000
    assert b.set("transform_tolerance", 0.0).successful
    b.until(0.8)
    (last,) = stamps(b.transforms()[-1:])
    assert last == b.timed("/tf")[-1].time_ns


# --- what is published when ---------------------------------------------------------------


def test_the_newest_status_and_pose_are_kept_for_who_comes_later(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    (status,) = b.latched(f"/{NODE}/status", STATUS)
    assert (status.state, status.reason) == (0, "no image on 'image' yet")
    assert b.latched("/pose", "geometry_msgs/msg/PoseWithCovarianceStamped") == []
    b.until(0.7)
    (status,) = b.latched(f"/{NODE}/status", STATUS)
    assert status == b.statuses()[-1]
    (pose,) = b.latched("/pose", "geometry_msgs/msg/PoseWithCovarianceStamped")
    assert pose == b.poses()[-1]


def test_a_status_after_each_image(bench: MakeBench) -> None:
    b = bench()
    b.rig.start()
    b.until(0.8)
    of_images = [status for status in b.statuses() if status.latency]
    assert len(of_images) == 4
    for number, status in enumerate(of_images, start=1):
        assert status.state == 1
        assert status.header.frame_id == "map"
        assert status.images_processed == number
        assert status.inliers > 20
        assert 0 < status.reprojection_error_px < 5
        assert status.age == 0.0
        # 0.03 s on the way, 0.1 s in work
        assert status.latency == pytest.approx(0.13)
        assert status.map_id == b.node.session.engine.map.map_id
    assert stamps(of_images) == stamps(b.poses())


VIEWS = {
    f"/{NODE}/inliers": "sensor_msgs/msg/PointCloud2",
    f"/{NODE}/debug_image": "sensor_msgs/msg/Image",
    f"/{NODE}/voxels": "visualization_msgs/msg/MarkerArray",
}


def test_views_are_made_only_while_somebody_listens(bench: MakeBench) -> None:
    b = bench(images=6)
    b.rig.start()
    b.until(0.5)
    assert {m.topic for m in b.rig.published} & set(VIEWS) == set()
    heard = {topic: b.rig.listen(topic, type_name) for topic, type_name in VIEWS.items()}
    b.until(0.65)
    (cloud,), (image,), (voxels,) = heard.values()
    status, pose = b.statuses()[-1], b.poses()[-1]
    assert cloud.header.frame_id == "map"
    assert cloud.header.stamp == image.header.stamp == pose.header.stamp
    assert [field.name for field in cloud.fields] == ["x", "y", "z"]
    assert cloud.width * cloud.height >= status.inliers
    assert len(cloud.data) == cloud.width * cloud.height * cloud.point_step
    points = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 3)
    # what the camera sees is in the room
    assert np.isfinite(points).all()
    assert (np.linalg.norm(points - [getattr(pose.pose.pose.position, a) for a in "xyz"], axis=1) < 8).all()
    assert (image.header.frame_id, image.encoding) == (streams.CAMERA_FRAME, "bgr8")
    assert (image.height, image.width, image.step) == (240, 320, 960)
    pixels = np.frombuffer(bytes(image.data), np.uint8).reshape(240, 320, 3)
    assert (pixels[..., 1] != pixels[..., 0]).any(), "nothing is drawn into the image"
    assert {marker.header.frame_id for marker in voxels.markers} == {"map"}
    clear, *boxes = voxels.markers
    assert clear.action == 3
    assert len(boxes) == len(b.node.session.engine.map.grid)
    assert all(len(box.points) == 24 for box in boxes)
    assert len({box.id for box in boxes}) == len(boxes)


def test_nobody_listens_any_more(bench: MakeBench) -> None:
    b = bench(images=4)
    b.rig.start()
    heard: list[Any] = []
    subscription = b.friend.create_subscription(
        streams.message_class("sensor_msgs/msg/Image"), f"/{NODE}/debug_image", heard.append, 1
    )
    b.until(0.35)
    assert len(heard) == 2
    b.friend.destroy_subscription(subscription)
    b.until(0.8)
    assert len(b.timed(f"/{NODE}/debug_image")) == 2


def levels(heard: list[Any]) -> list[tuple[int, str]]:
    """Level and text of the localizer's diagnostics, without repetitions."""
    out: list[tuple[int, str]] = []
    for array in heard:
        for status in array.status:
            each = (status.level[0] if isinstance(status.level, bytes) else status.level, status.message)
            if "localization" in status.name and (not out or out[-1] != each):
                out.append(each)
    return out


def test_diagnostics_follow_the_state(bench: MakeBench) -> None:
    b = bench(images=10)
    heard = b.rig.listen("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
    b.node.trigger_configure()
    b.until(0.0)
    assert levels(heard)[-1] == (1, "not active")
    b.node.trigger_activate()
    b.until(2.0)
    assert levels(heard)[-1] == (0, "TRACKING")
    values = {v.key: v.value for status in heard[-1].status for v in status.values}
    assert values["map id"] == b.node.session.engine.map.map_id
    assert int(values["images processed"]) == b.statuses()[-1].images_processed
    b.until(4.2)
    assert levels(heard)[-1] == (1, "DEGRADED: no image since 1 s")
    b.until(7.0)
    assert levels(heard)[-1] == (2, "LOST: no image since 1 s")
    b.node.trigger_deactivate()
    b.until(8.5)
    assert levels(heard)[-1] == (1, "not active")
    b.node.trigger_cleanup()
    b.until(10.0)
    assert levels(heard)[-1] == (1, "not configured")


def test_an_active_node_without_images_does_nothing_but_tick(bench: MakeBench) -> None:
    b = bench(tf_publish_rate=2.0)
    b.skip(10.0)
    b.rig.start()
    turns = 0

    def count(_: object) -> None:
        nonlocal turns
        turns += 1

    b.friend.create_subscription(streams.message_class("rosgraph_msgs/msg/Clock"), "/clock", count, 100)
    before = b.now_s
    b.until(before + 10.0)
    # twice a second the node's timer and once a second diagnostics'
    assert turns <= 32
