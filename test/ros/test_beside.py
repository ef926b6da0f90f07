"""Beside another localizer: what it is told and what is said of it; and poses on the floor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from amcl import Amcl
from client import Client
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_process import CONFIGURE, NodeProcess
from player import Player, Recording, nanoseconds
from test_topics import OWN, PUBLISHED, RELIABLE, SERVED, SUBSCRIBED, VOLATILE, endpoints

POSE = "geometry_msgs/msg/PoseWithCovarianceStamped"
SCAN_S = 0.4


@pytest.fixture
def initializer(node: NodeProcess, player: Player) -> Player:
    """Start beside another localizer, and play nothing yet."""
    assert node.set({"mode": "initializer"}) == {}
    player.seek(0)
    node.activate()
    return player


@pytest.fixture
def amcl(initializer: Player) -> Iterator[Amcl]:
    made = Amcl(initializer)
    initializer.client.wait(1.0)
    yield made
    made.close()


def test_topics_and_services_leave_the_names_of_amcl_to_it(node: NodeProcess, client: Client) -> None:
    assert node.set({"mode": "initializer"}) == {}
    assert node.change(CONFIGURE)
    graph = client.node
    own = {f"{OWN}/{name.rpartition('/')[2]}" for name in SERVED}

    def published() -> bool:
        found = endpoints(client, graph.get_publisher_names_and_types_by_node, graph.get_publishers_info_by_topic)
        return found == PUBLISHED | {"/initialpose": (POSE, RELIABLE, VOLATILE)}

    def subscribed() -> bool:
        of_node = graph.get_subscriber_names_and_types_by_node
        found = endpoints(client, of_node, graph.get_subscriptions_info_by_topic)
        return (
            f"{OWN}/claim" in found
            and found.keys() >= SUBSCRIBED.keys() - {"/initialpose"}
            and ("/initialpose" not in found)
        )

    def served() -> bool:
        names = {name for name, _ in graph.get_service_names_and_types_by_node("neumap_localizer", "/")}
        return own <= names and not names & (SERVED.keys() - own)

    for holds in (published, subscribed, served):
        assert client.until(holds, 10.0), holds.__name__


def test_it_is_told_once_and_sends_the_transform(
    amcl: Amcl, initializer: Player, node: NodeProcess, recording: Recording
) -> None:
    initializer.step_to(1.0)
    initializer.client.wait(SCAN_S)
    (told,) = amcl.taken
    assert told.header.frame_id == "map"
    assert nanoseconds(told.header.stamp) == recording.images[0]
    position, truth = told.pose.pose.position, recording.truth[recording.images[0]].position
    assert np.hypot(position.x - truth.x, position.y - truth.y) < 0.03
    turned = told.pose.pose.orientation
    assert (position.z, turned.x, turned.y) == (0.0, 0.0, 0.0)
    covariance = np.array(told.pose.covariance).reshape(6, 6)
    assert np.linalg.eigvalsh(covariance).min() > 0
    assert 0.01 < covariance[0, 0] < 0.04
    initializer.step_to(1.8)
    of_map = [each for message in node.transforms for each in message.transforms if each.header.frame_id == "map"]
    assert of_map
    assert {nanoseconds(each.header.stamp) for each in of_map} <= amcl.sent_ns
    assert amcl.taken == [told]
    last = node.statuses[-1]
    assert not last.other_disagrees
    assert last.other_distance < 0.1


def test_one_that_went_astray_is_told_of_and_corrected_if_asked(
    amcl: Amcl, initializer: Player, node: NodeProcess, client: Client
) -> None:
    heard = client.listen(DiagnosticArray, "/diagnostics")
    initializer.step_to(1.0)
    initializer.client.wait(SCAN_S)
    assert amcl.map_from_odom is not None
    amcl.map_from_odom[:2, 2] += [1.5, -2.0]
    initializer.client.wait(SCAN_S)
    initializer.step_to(2.0)
    last = node.statuses[-1]
    assert last.other_disagrees
    assert last.other_distance == pytest.approx(2.5, abs=0.1)
    said = "TRACKING; the other localizer is 2.5"
    assert client.until(lambda: heard and heard[-1].status[0].message.startswith(said)), heard[-1:]
    assert heard[-1].status[0].level == DiagnosticStatus.WARN
    assert len(amcl.taken) == 1
    # more than it is given to take what it was told
    assert node.set({"correct_other": True}) == {}
    initializer.seek(7.6)
    initializer.step_to(8.4)
    initializer.client.wait(SCAN_S)
    initializer.step_to(9.0)
    assert len(amcl.taken) == 2
    assert not node.statuses[-1].other_disagrees
    assert node.statuses[-1].other_distance < 0.1


def test_claims_come_in_by_their_own_name(initializer: Player, node: NodeProcess, recording: Recording) -> None:
    client = initializer.client
    ours = client.node.create_publisher(PoseWithCovarianceStamped, f"{OWN}/claim", 1)
    amcls = client.node.create_publisher(PoseWithCovarianceStamped, "/initialpose", 1)
    assert client.until(ours.get_subscription_count)
    client.wait(0.2)
    amcls.publish(recording.claim(initializer.now_ns, 30.0))
    client.wait(0.3)
    assert not any("initial pose" in reason for _, reason in node.told)
    ours.publish(recording.claim(initializer.now_ns, 0.1))
    assert client.until(lambda: "the initial pose waits" in node.told[-1][1])
    initializer.step_to(0.6)
    assert ("TRACKING", "initial pose confirmed") in node.told
    for publisher in (ours, amcls):
        client.node.destroy_publisher(publisher)


def test_on_the_floor(node: NodeProcess, player: Player, recording: Recording) -> None:
    assert node.set({"two_d_mode": True}) == {}
    player.seek(0)
    node.activate()
    player.step_to(1.0)
    player.client.wait(0.2)
    assert node.belief == "TRACKING"
    assert len(node.poses) == 6
    for pose in node.poses:
        truth = recording.truth[nanoseconds(pose.header.stamp)].position
        position, turned = pose.pose.pose.position, pose.pose.pose.orientation
        assert np.hypot(position.x - truth.x, position.y - truth.y) < 0.03
        assert (position.z, turned.x, turned.y) == (0.0, 0.0, 0.0)
        assert np.linalg.eigvalsh(np.array(pose.pose.covariance).reshape(6, 6)).min() > 0
    sent = [each for message in node.transforms for each in message.transforms if each.header.frame_id == "map"]
    assert sent
    for each in sent:
        assert each.transform.translation.z == 0.0
        assert abs(each.transform.rotation.x) < 1e-12 > abs(each.transform.rotation.y)
