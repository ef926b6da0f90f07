"""Time that is published: loops, leaps, at a stop, and faster than the machine can follow."""

from __future__ import annotations

import itertools

import pytest
from client import Client
from geometry_msgs.msg import PoseWithCovarianceStamped
from neumap_ros.srv import Relocalize
from node_process import NodeProcess
from player import IMAGE, Player, Recording, nanoseconds, position

RIGHT_M = 0.05
# a bag as it is looped in these tests, seconds: before the lens is covered
LAP_S = 1.8


def test_a_looped_bag(tracking: Player, node: NodeProcess, recording: Recording) -> None:
    tracking.step_to(LAP_S)
    laps = []
    for _ in range(3):
        node.forget()
        tracking.seek(0)
        tracking.step_to(LAP_S)
        assert [state for state, _ in node.told if state != "UNINITIALIZED"][-1:] == ["TRACKING"], node.told
        assert {state for state, _ in node.told} == {"UNINITIALIZED", "TRACKING"}
        assert node.told[0] == ("UNINITIALIZED", "time jumped back")
        laps.append({nanoseconds(pose.header.stamp): position(pose.pose.pose) for pose in node.poses})
        assert [*laps[-1]] == [each for each in recording.images if each <= tracking.now_ns]
    assert all(lap[stamp] == pytest.approx(laps[0][stamp], abs=1e-6) for lap in laps for stamp in lap)


def test_transforms_of_the_lap_before_come_late(tracking: Player, node: NodeProcess, recording: Recording) -> None:
    """They were on their way when time jumped back; claims must not be measured by them."""
    tracking.step_to(2.8)
    late = [each for each in recording.messages if each.topic == "tf" and each.time_ns < tracking.now_ns][-5:]
    claims = tracking.client.node.create_publisher(PoseWithCovarianceStamped, "/initialpose", 1)
    for _ in range(2):
        tracking.seek(0)
        for each in late:
            tracking.publish(each)
        tracking.client.wait(0.1)
        node.forget()
        tracking.step_to(0.8)
        claims.publish(recording.claim(tracking.now_ns))
        tracking.client.wait(0.2)
        tracking.step_to(1.2)
        assert ("TRACKING", "initial pose confirmed") in node.told, node.told
        asked = node.ask(Relocalize, "relocalize", use_prior=True, prior=recording.claim(tracking.now_ns), timeout=5.0)
        tracking.client.wait(0.2)
        tracking.step_to(1.8)
        answer = tracking.client.answer(asked)
        assert answer.success, answer.reason
        # without images it is carried on from the fix of this lap
        tracking.seek(4.0)
        tracking.client.until(lambda: node.belief != "TRACKING", 2.0)
        assert node.told[-1] == ("DEGRADED", "no image since 1 s"), node.told
        assert {state for state, _ in node.told} <= {"UNINITIALIZED", "TRACKING", "DEGRADED"}, node.told
        assert all(recording.error_m(pose) < RIGHT_M for pose in node.poses)
    tracking.client.node.destroy_publisher(claims)


def test_what_waits_when_time_jumps_back_is_answered(tracking: Player, node: NodeProcess) -> None:
    asked = node.ask(Relocalize, "relocalize", timeout=2.0)
    tracking.client.wait(0.2)
    tracking.seek(0)
    tracking.step_to(1.0)
    answer = tracking.client.answer(asked)
    assert answer.success or answer.reason == "time jumped back"


def test_a_leap_forward(tracking: Player, node: NodeProcess) -> None:
    node.forget()
    tracking.seek(7.4)
    with tracking.running():
        assert tracking.client.until(lambda: node.belief == "TRACKING"), node.told
    assert ("LOST", "no image since 1 s") in node.told


def test_a_stop(tracking: Player, node: NodeProcess) -> None:
    node.forget()
    tracking.client.wait(2.0)
    assert node.told in ([], [("TRACKING", "")])
    tracking.step_to(1.4)
    assert node.belief == "TRACKING"


def test_use_sim_time_can_be_changed(tracking: Player, node: NodeProcess) -> None:
    assert node.set({"use_sim_time": False}) == {}
    assert tracking.client.until(lambda: node.belief == "UNINITIALIZED"), node.told
    with tracking.running():
        assert tracking.client.until(lambda: "is use_sim_time right?" in node.told[-1][1]), node.told
    assert node.set({"use_sim_time": True}) == {}
    tracking.seek(1.6)
    tracking.step_to(2.4)
    assert node.belief == "TRACKING", node.told


def test_no_clock_at_all(start, world, client: Client, recording: Recording) -> None:
    """Somebody set use_sim_time, and nobody plays."""
    node = start("-p", f"map:={world.map}", "-p", "use_sim_time:=true", "-p", "image_transport:=compressed")
    node.activate()
    player = Player(client, recording, node)
    player.connect()
    for each in itertools.takewhile(lambda each: each.time_ns < player.ns(0.5), recording.messages):
        player.publish(each)
        client.wait(0.05 if each.topic == IMAGE else 0.0)
    player.close()
    assert client.until(lambda: "is use_sim_time right?" in node.told[-1][1]), node.told
    asked = node.ask(Relocalize, "relocalize", timeout=1.0)
    assert not client.answer(asked, 10.0).success
    assert node.stop() == 0
