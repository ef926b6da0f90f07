"""Rates of the last ten seconds."""

from __future__ import annotations

import math

import pytest

from neumap.tracking.rates import Meter, Window

START_NS = 1000 * 10**9


def ns(seconds: float) -> int:
    return START_NS + round(seconds * 1e9)


def test_nothing_came() -> None:
    rates = Meter(START_NS).rates(START_NS)
    assert (Window(START_NS).rate_hz(START_NS), rates.searched_hz) == (0.0, 0.0)
    assert math.isnan(rates.cost_s)
    assert math.isnan(rates.latency_s)


def test_rates_costs_and_latencies() -> None:
    meter, came = Meter(START_NS), Window(START_NS)
    for i in range(1, 601):
        came.add(ns(i / 30))
        if i % 6 == 0:
            # of 20 images one is late
            meter.searched(ns(i / 30), 0.3 if i % 120 == 0 else 0.1)
            meter.concluded(ns(i / 30), 2.0 if i % 240 == 0 else 0.2)
    rates = meter.rates(ns(20.0))
    assert came.rate_hz(ns(20.0)) == pytest.approx(30.0)
    assert rates.searched_hz == pytest.approx(5.0)
    assert rates.cost_s == pytest.approx(0.1)
    assert rates.latency_s == pytest.approx(0.2)


def test_the_time_since_the_start_counts_where_it_is_shorter() -> None:
    came = Window(START_NS)
    for i in range(1, 11):
        came.add(ns(i / 5))
    assert came.rate_hz(ns(2.0)) == pytest.approx(5.0)


def test_what_is_long_ago_is_forgotten() -> None:
    meter, came = Meter(START_NS), Window(START_NS)
    for i in range(1, 51):
        came.add(ns(i / 5))
        meter.concluded(ns(i / 5), 9.0)
    came.add(ns(25.0))
    rates = meter.rates(ns(25.0))
    assert came.rate_hz(ns(25.0)) == pytest.approx(0.1)
    assert math.isnan(rates.latency_s)


def test_what_an_image_costs_more_is_counted_with_it() -> None:
    meter = Meter(START_NS)
    meter.searched(ns(1.0), 0.1)
    meter.searched_on(0.4)
    assert meter.rates(ns(2.0)).cost_s == pytest.approx(0.5)
    # who is slow has forgotten it
    assert math.isnan(meter.rates(ns(20.0)).cost_s)
    meter.searched_on(9.0)
    assert math.isnan(meter.rates(ns(20.0)).cost_s)
