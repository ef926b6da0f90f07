"""Transitions, as a client asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from conftest import World
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetAvailableTransitions
from neumap_ros.srv import Relocalize
from node_process import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, NodeProcess
from player import Player
from std_msgs.msg import String

Start = Callable[..., NodeProcess]

SHUTDOWN = {
    "unconfigured": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    "inactive": Transition.TRANSITION_INACTIVE_SHUTDOWN,
    "active": Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
# POSSIBLE: what can be asked for in each state; all else is impossible
POSSIBLE = {
    "unconfigured": {"configure": CONFIGURE, "shutdown": SHUTDOWN["unconfigured"]},
    "inactive": {"activate": ACTIVATE, "cleanup": CLEANUP, "shutdown": SHUTDOWN["inactive"]},
    "active": {"deactivate": DEACTIVATE, "shutdown": SHUTDOWN["active"]},
    "finalized": {},
}
# IDS, LABELS: also some of the state machine's own, which no client may ask for, and one that is none
IDS = (*range(0, 9), Transition.TRANSITION_ON_CONFIGURE_SUCCESS, Transition.TRANSITION_CALLBACK_ERROR, 250)
LABELS = ("create", "configure", "cleanup", "activate", "deactivate", "destroy", "transition_success", "fly")


def refuses_the_impossible(node: NodeProcess, state: str) -> None:
    """Ask for all that is impossible in a state: each is answered, and changes nothing."""
    possible = POSSIBLE[state]
    for asked in (*IDS, *LABELS):
        if asked not in possible and asked not in possible.values():
            assert node.change(asked, patience_s=5.0) is False, asked
    assert node.state == state


def test_nav2_hears_that_it_lives_while_it_is_active(node: NodeProcess, client: Client) -> None:
    heard = client.listen(String, "/bond")
    for _ in range(2):
        node.activate()
        assert client.until(lambda: heard), "no heartbeat"
        client.wait(0.5)
        assert {each.data for each in heard} == {"neumap_localizer alive"}
        assert node.change(DEACTIVATE)
        assert client.until(lambda: heard[-1].data == "neumap_localizer dead")
        heard.clear()
        client.wait(0.5)
        assert heard == []
        assert node.change(CLEANUP)


def test_all_transitions_twice(node: NodeProcess, player: Player) -> None:
    player.seek(0)
    at = 0.0
    for _ in range(2):
        for transition, state in (
            (CONFIGURE, "inactive"),
            (ACTIVATE, "active"),
            (DEACTIVATE, "inactive"),
            ("activate", "active"),
            ("deactivate", "inactive"),
            (CLEANUP, "unconfigured"),
        ):
            node.forget()
            assert node.change(transition), node.output
            assert node.state == state
            offered = node.call(GetAvailableTransitions, "get_available_transitions").available_transitions
            assert {each.transition.label for each in offered} == POSSIBLE[state].keys()
            if state == "active":
                at += 0.6
                player.step_to(at)
                assert node.belief == "TRACKING", node.told
                assert node.poses
                assert node.transforms
    assert "Traceback" not in node.output


def test_nothing_is_published_while_inactive(tracking: Player, node: NodeProcess) -> None:
    assert node.change(DEACTIVATE)
    tracking.client.wait(0.3)
    node.forget()
    with tracking.running():
        tracking.client.wait(1.0)
    assert not node.poses
    assert not node.statuses
    assert not [each for message in node.transforms for each in message.transforms if each.header.frame_id == "map"]


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_impossible_transitions_are_refused(node: NodeProcess, state: str) -> None:
    for transition in {"unconfigured": (), "inactive": (CONFIGURE,), "active": (CONFIGURE, ACTIVATE)}[state]:
        assert node.change(transition)
    refuses_the_impossible(node, state)


@pytest.mark.parametrize("state", SHUTDOWN)
def test_shutdown_is_final(start: Start, world: World, state: str) -> None:
    node = start("-p", f"map:={world.map}")
    for transition in {"unconfigured": (), "inactive": (CONFIGURE,), "active": (CONFIGURE, ACTIVATE)}[state]:
        assert node.change(transition)
    waits = node.ask(Relocalize, "relocalize", timeout=60.0) if state == "active" else None
    assert node.change(SHUTDOWN[state])
    assert node.state == "finalized"
    assert waits is None or not node.client.answer(waits).success
    assert node.stop() == 0
    assert "Traceback" not in node.output


def test_impossible_transitions_are_refused_after_the_end(start: Start) -> None:
    node = start()
    assert node.change("shutdown")
    refuses_the_impossible(node, "finalized")


def test_a_bad_map_can_be_replaced_by_a_good_one(node: NodeProcess, world: World, tmp_path: Path) -> None:
    bad = tmp_path / "bad.neumap"
    bad.write_bytes(world.map.read_bytes()[:-1000])
    for path, said in ((bad, str(bad)), (tmp_path, str(tmp_path)), ("", "no map is given")):
        assert node.set({"map": str(path)}) == {}
        for _ in range(2):
            node.turn_page()
            assert node.change(CONFIGURE) is False
            assert node.state == "unconfigured"
            assert node.client.until(lambda said=said: said in node.output)
    assert node.set({"map": str(world.map)}) == {}
    node.activate()
    assert "Traceback" not in node.output
