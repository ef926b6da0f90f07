"""The node's modules, with the simulator in the place of ROS 2."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def conversions() -> Iterator[ModuleType]:
    pytest.importorskip("rosbags")
    from neumap_ros import simulator

    simulator.install()
    from neumap_ros import conversions

    yield conversions
    simulator.uninstall()


@pytest.fixture(scope="module")
def relocalization() -> Iterator[ModuleType]:
    pytest.importorskip("rosbags")
    from neumap_ros import simulator

    simulator.install()
    from neumap_ros import relocalization

    yield relocalization
    simulator.uninstall()
