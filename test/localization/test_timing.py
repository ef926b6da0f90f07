"""Times are collected where somebody measures, and nowhere else."""

from __future__ import annotations

import time
from threading import Thread

import pytest

from neumap.localization.timing import STAGES, measured, stage


def test_stages_add_up_while_somebody_measures() -> None:
    with stage("pnp"):
        pass
    with measured() as times_ms:
        for _ in range(2):
            with stage("pnp"):
                time.sleep(0.01)
        with measured() as others_ms, stage("refine"):
            time.sleep(0.005)
    with stage("decode"):
        pass
    assert tuple(times_ms) == STAGES
    assert times_ms["pnp"] >= 20
    assert times_ms["refine"] == times_ms["decode"] == 0
    assert others_ms["refine"] >= 5


def test_a_stage_that_fails_took_time_all_the_same() -> None:
    def fail() -> None:
        with stage("decode"):
            time.sleep(0.005)
            raise ValueError("no")

    with measured() as times_ms, pytest.raises(ValueError, match="no"):
        fail()
    assert times_ms["decode"] >= 5


def test_each_thread_measures_for_itself() -> None:
    def work() -> None:
        with stage("features"):
            time.sleep(0.005)

    with measured() as times_ms:
        other = Thread(target=work)
        other.start()
        other.join()
    assert times_ms["features"] == 0
