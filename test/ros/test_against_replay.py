"""The same recording through `neumap replay` and through ROS 2: the same poses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import World, neumap
from node_process import NodeProcess
from player import Player, nanoseconds, position

SAME_M, SAME_RAD = 0.001, 0.001


@pytest.fixture(scope="module")
def replayed(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """Position and quaternion of each pose that a replay of the bag publishes, by stamp."""
    out = tmp_path_factory.mktemp("replayed")
    neumap("replay", world.bag, "--map", world.map, "--out", out)
    rows = [line.split() for line in Path(out, "poses.txt").read_text().splitlines() if not line.startswith("#")]
    return {stamp_ns(row[0]): np.array(row[1:], dtype=np.float64) for row in rows}


def stamp_ns(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def are_same(poses: list[Any], replayed: dict[int, Any]) -> bool:
    """Holds poses against those of the replay at their stamps."""
    for pose in poses:
        expected = replayed[nanoseconds(pose.header.stamp)]
        q = pose.pose.pose.orientation
        cosine = abs(np.dot([q.x, q.y, q.z, q.w], expected[3:]))
        assert np.linalg.norm(position(pose.pose.pose) - expected[:3]) < SAME_M
        assert 2 * np.arccos(min(cosine, 1.0)) < SAME_RAD
    return bool(poses)


def test_the_whole_drive(node: NodeProcess, player: Player, replayed: dict[int, Any]) -> None:
    player.seek(0)
    node.activate()
    player.step_to(10.0)
    assert [nanoseconds(pose.header.stamp) for pose in node.poses] == [*replayed]
    assert are_same(node.poses, replayed)


def test_raw_images(node: NodeProcess, player: Player, replayed: dict[int, Any]) -> None:
    player.raw = True
    assert node.set({"image_transport": "raw"}) == {}
    player.seek(0)
    node.activate()
    player.step_to(2.8)
    assert [nanoseconds(pose.header.stamp) for pose in node.poses] == [*replayed][:15]
    assert are_same(node.poses, replayed)


def test_in_real_time(node: NodeProcess, player: Player, replayed: dict[int, Any]) -> None:
    """Some images may be dropped; the others give the same poses."""
    player.seek(0)
    node.activate()
    with player.running():
        assert player.client.until(lambda: player.now_s > 10.0)
    assert player.client.until(lambda: node.belief == "TRACKING")
    assert len(node.poses) > len(replayed) / 4
    assert are_same(node.poses, replayed)
