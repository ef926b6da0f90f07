"""Topics as somebody sees them who subscribes from outside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from client import Client
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from neumap_ros.msg import LocalizationStatus
from neumap_ros.srv import LoadMap
from node_process import ACTIVATE, CONFIGURE, DEACTIVATE, LATCHED, STATES, NodeProcess
from player import SECOND, Player, Recording, nanoseconds
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from neumap.maps.map_file import load_map

if TYPE_CHECKING:
    from conftest import World

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
VOLATILE, TRANSIENT_LOCAL = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL
OWN = "/neumap_localizer"
PUBLISHED = {
    "/pose": ("geometry_msgs/msg/PoseWithCovarianceStamped", RELIABLE, TRANSIENT_LOCAL),
    "/tf": ("tf2_msgs/msg/TFMessage", RELIABLE, VOLATILE),
    "/diagnostics": ("diagnostic_msgs/msg/DiagnosticArray", RELIABLE, VOLATILE),
    f"{OWN}/status": ("neumap_ros/msg/LocalizationStatus", RELIABLE, TRANSIENT_LOCAL),
    f"{OWN}/inliers": ("sensor_msgs/msg/PointCloud2", RELIABLE, VOLATILE),
    f"{OWN}/debug_image": ("sensor_msgs/msg/Image", RELIABLE, VOLATILE),
    f"{OWN}/voxels": ("visualization_msgs/msg/MarkerArray", RELIABLE, TRANSIENT_LOCAL),
    f"{OWN}/landmarks": ("sensor_msgs/msg/PointCloud2", RELIABLE, TRANSIENT_LOCAL),
    f"{OWN}/transition_event": ("lifecycle_msgs/msg/TransitionEvent", RELIABLE, VOLATILE),
}
IMAGES = {
    "raw": ("/image", "sensor_msgs/msg/Image"),
    "compressed": ("/image/compressed", "sensor_msgs/msg/CompressedImage"),
}
SUBSCRIBED = {
    "/camera_info": ("sensor_msgs/msg/CameraInfo", BEST_EFFORT, VOLATILE),
    "/initialpose": ("geometry_msgs/msg/PoseWithCovarianceStamped", RELIABLE, VOLATILE),
    "/tf": ("tf2_msgs/msg/TFMessage", RELIABLE, VOLATILE),
    "/tf_static": ("tf2_msgs/msg/TFMessage", RELIABLE, TRANSIENT_LOCAL),
    "/clock": ("rosgraph_msgs/msg/Clock", BEST_EFFORT, VOLATILE),
}
SERVED = {
    f"{OWN}/relocalize": "neumap_ros/srv/Relocalize",
    f"{OWN}/load_map": "neumap_ros/srv/LoadMap",
    "/reinitialize_global_localization": "std_srvs/srv/Empty",
    "/set_initial_pose": "nav2_msgs/srv/SetInitialPose",
}
# ALWAYS: what every node has
ALWAYS = {"/rosout", "/parameter_events"}


def endpoints(client: Client, names: Any, of_topic: Any) -> dict[str, Any]:
    """Return types and QoS of the node's own endpoints on the topics that the graph says it has."""
    found = {}
    for topic, _ in names("neumap_localizer", "/"):
        for each in of_topic(topic):
            if each.node_name == "neumap_localizer" and topic not in ALWAYS:
                found[topic] = (each.topic_type, each.qos_profile.reliability, each.qos_profile.durability)
    return found


@pytest.mark.parametrize("transport", IMAGES)
def test_types_and_qos(node: NodeProcess, client: Client, transport: str) -> None:
    topic, kind = IMAGES[transport]
    subscribed = SUBSCRIBED | {topic: (kind, BEST_EFFORT, VOLATILE)}
    assert node.set({"image_transport": transport}) == {}
    assert node.change(CONFIGURE)
    graph = client.node

    def publishers() -> dict[str, Any]:
        return endpoints(client, graph.get_publisher_names_and_types_by_node, graph.get_publishers_info_by_topic)

    def subscribers() -> dict[str, Any]:
        return endpoints(client, graph.get_subscriber_names_and_types_by_node, graph.get_subscriptions_info_by_topic)

    def services() -> dict[str, str]:
        found = graph.get_service_names_and_types_by_node("neumap_localizer", "/")
        return {name: kind for name, (kind,) in found if name in SERVED or "neumap_ros" in kind}

    for now, wanted in ((publishers, PUBLISHED), (subscribers, subscribed), (services, SERVED)):
        assert client.until(lambda now=now, wanted=wanted: now() == wanted, 10.0), now()


def test_nothing_is_left_after_cleanup(node: NodeProcess, client: Client) -> None:
    graph = client.node
    once = set(ALWAYS) | {f"{OWN}/transition_event", "/diagnostics"}
    node.activate()
    assert node.change("deactivate")
    assert node.change("cleanup")

    def left() -> set[str]:
        found = [
            *graph.get_publisher_names_and_types_by_node("neumap_localizer", "/"),
            *graph.get_subscriber_names_and_types_by_node("neumap_localizer", "/"),
            *graph.get_service_names_and_types_by_node("neumap_localizer", "/"),
        ]
        names = {name for name, _ in found} - once - {"/clock"}
        return {name for name in names if name in SERVED or not name.startswith(f"{OWN}/")}

    assert client.until(lambda: not left(), 10.0), left()


def test_pose_and_status_are_kept_for_who_comes_late(tracking: Player, node: NodeProcess, client: Client) -> None:
    poses = client.listen(PoseWithCovarianceStamped, "/pose", LATCHED)
    statuses = client.listen(LocalizationStatus, f"{OWN}/status", LATCHED)
    assert client.until(lambda: poses and statuses)
    client.wait(0.2)
    assert poses == node.poses[-1:]
    assert statuses == node.statuses[-1:]


def test_what_a_pose_says(tracking: Player, node: NodeProcess, recording: Recording) -> None:
    images = recording.images[:6]
    assert [nanoseconds(pose.header.stamp) for pose in node.poses] == images
    for pose in node.poses:
        assert pose.header.frame_id == "map"
        assert recording.error_m(pose) < 0.05
        covariance = np.array(pose.pose.covariance).reshape(6, 6)
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
        assert np.linalg.eigvalsh(covariance).min() > 0


def test_what_a_status_says(tracking: Player, node: NodeProcess, recording: Recording) -> None:
    first, *_, last = node.statuses
    assert (STATES[first.state], first.reason) == ("UNINITIALIZED", "no image on 'image/compressed' yet")
    assert (first.age, first.latency, first.inliers, first.images_processed) == (-1.0, 0.0, 0, 0)
    assert np.isnan(first.reprojection_error_px)
    assert (STATES[last.state], last.reason, last.header.frame_id) == ("TRACKING", "", "map")
    assert nanoseconds(last.header.stamp) == recording.images[5]
    assert (last.age, last.images_processed, last.images_dropped) == (0.0, 6, 0)
    assert last.inliers > 20
    assert 0 < last.reprojection_error_px < 5
    assert 0 <= last.latency < 1
    assert len(last.map_id) > 8
    assert (last.other_disagrees, last.other_distance, last.other_angle) == (False, -1.0, -1.0)


def test_the_transform_leads_from_map_to_odom(tracking: Player, node: NodeProcess, recording: Recording) -> None:
    tracking.client.wait(0.2)
    own = [each for message in node.transforms for each in message.transforms if each.header.frame_id == "map"]
    assert {each.child_frame_id for each in own} == {"odom"}
    stamps = [nanoseconds(each.header.stamp) for each in own]
    assert stamps == sorted(stamps)
    assert stamps[-1] - tracking.now_ns == pytest.approx(0.2 * SECOND, abs=0.06 * SECOND)


def test_nothing_but_the_status_while_lost(tracking: Player, node: NodeProcess) -> None:
    for seconds in (3.0, 6.4):
        tracking.step_to(seconds)
    assert node.belief == "LOST"
    node.forget()
    tracking.step_to(6.8)
    assert node.poses == []
    assert [each for message in node.transforms for each in message.transforms if each.header.frame_id == "map"] == []
    assert [state for state, _ in node.told] == ["LOST"]
    node.forget()
    tracking.step_to(8.0)
    assert node.belief == "TRACKING"
    assert all(tracking.recording.error_m(pose) < 0.05 for pose in node.poses)


def test_diagnostics(node: NodeProcess, player: Player, client: Client) -> None:
    heard = client.listen(DiagnosticArray, "/diagnostics")

    def told(level: bytes, message: str) -> Any:
        """Wait until it says so; return the values of that status."""
        heard.clear()
        with player.running(0.01):  # time goes on, but hardly
            told = client.until(lambda: heard and heard[-1].status[0].message == message)
        assert told, heard and heard[-1]
        (status,) = heard[-1].status
        assert (status.level, status.name) == (level, "neumap_localizer: localization")
        return {each.key: each.value for each in status.values}

    player.seek(0)
    assert node.change(CONFIGURE)
    told(DiagnosticStatus.WARN, "not active")
    assert node.change(ACTIVATE)
    player.step_to(1.0)
    values = told(DiagnosticStatus.OK, "TRACKING")
    assert values["map id"] == node.statuses[-1].map_id
    assert values["images processed"] == str(node.statuses[-1].images_processed)
    assert values["images dropped"] == "0"
    assert node.change(DEACTIVATE)
    told(DiagnosticStatus.WARN, "not active")


def test_diagnostics_while_lost(tracking: Player, node: NodeProcess, client: Client) -> None:
    heard = client.listen(DiagnosticArray, "/diagnostics")
    for seconds in (3.0, 6.5):
        tracking.step_to(seconds)
    heard.clear()
    assert client.until(lambda: heard)
    assert heard[-1].status[0].level == DiagnosticStatus.ERROR
    assert heard[-1].status[0].message.startswith("LOST: ")


def test_diagnostics_where_another_node_publishes_the_same_transform(
    tracking: Player, node: NodeProcess, client: Client
) -> None:
    heard = client.listen(DiagnosticArray, "/diagnostics")
    tf = client.node.create_publisher(TFMessage, "/tf", 100)
    assert client.until(tf.get_subscription_count)
    for index in range(60):
        # behind what the node itself sends, and at a moment of its own each
        sent = TransformStamped(child_frame_id="odom")
        sent.header.frame_id = "map"
        sent.header.stamp = tracking.stamp(tracking.now_ns - SECOND + index * SECOND // 100)
        sent.transform.translation.x = 0.5 * (index % 2)
        sent.transform.rotation.w = 1.0
        tf.publish(TFMessage(transforms=[sent]))
    told = "; the link map -> odom of /tf goes to and fro by 50 cm, as if two published it, at "
    assert client.until(lambda: heard and told in heard[-1].status[0].message), heard[-1]
    assert heard[-1].status[0].level == DiagnosticStatus.WARN
    client.node.destroy_publisher(tf)


def test_what_is_made_only_for_those_who_listen(tracking: Player, node: NodeProcess, client: Client) -> None:
    clouds = client.listen(PointCloud2, f"{OWN}/inliers")
    pictures = client.listen(Image, f"{OWN}/debug_image")
    boxes = client.listen(MarkerArray, f"{OWN}/voxels", LATCHED)
    client.wait(0.5)
    node.forget()
    tracking.step_to(1.6)
    assert client.until(lambda: clouds and pictures and boxes)
    status, cloud, picture = node.statuses[-1], clouds[-1], pictures[-1]
    assert cloud.header.frame_id == "map"
    assert picture.header.frame_id == "camera_color_optical_frame"
    assert {nanoseconds(each.header.stamp) for each in (cloud, picture)} == {nanoseconds(status.header.stamp)}
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "u", "v"]
    columns = np.frombuffer(cloud.data, np.float32).reshape(-1, cloud.point_step // 4)
    points, pixels = columns[:, :3], columns[:, 3:]
    assert len(points) >= status.inliers
    assert (np.abs(points) < 10).all()
    assert ((pixels > -0.5) & (pixels < [319.5, 239.5])).all()
    assert (picture.encoding, picture.width, picture.height, len(picture.data)) == ("bgr8", 320, 240, 320 * 240 * 3)
    cleared, *drawn = boxes[-1].markers
    assert cleared.action == Marker.DELETEALL
    assert len(drawn) == 1
    assert all(each.header.frame_id == "map" and len(each.points) == 24 for each in drawn)


def test_the_landmarks_of_the_map_in_use(node: NodeProcess, world: World, client: Client) -> None:
    """They are there before the node is active, for who comes late, and anew with another map."""

    def last_is(path: Path) -> bool:
        expected = load_map(path)
        cloud = np.frombuffer(clouds[-1].data, np.float32).reshape(-1, 3)
        return np.array_equal(cloud, expected.landmarks.points(expected.grid).astype(np.float32))

    assert node.change(CONFIGURE)
    clouds = client.listen(PointCloud2, f"{OWN}/landmarks", LATCHED)
    assert client.until(lambda: clouds)
    assert last_is(world.map)
    assert (clouds[-1].header.frame_id, nanoseconds(clouds[-1].header.stamp)) == ("map", 0)
    assert node.call(LoadMap, "load_map", map_path=str(world.other_map)).success
    assert client.until(lambda: len(clouds) == 2)
    assert last_is(world.other_map)
