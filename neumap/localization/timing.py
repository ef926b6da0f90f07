"""Measures the time of each stage of a query, through a context variable instead of parameters.

with measured() as times_ms:
    with stage("pnp"):
        ...
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

STAGES = ("features", "decode", "pnp", "refine")

_measured: ContextVar[dict[str, float] | None] = ContextVar("measured", default=None)


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Measure the milliseconds of each of the ``STAGES`` in this thread, within the block."""
    times_ms = dict.fromkeys(STAGES, 0.0)
    token = _measured.set(times_ms)
    try:
        yield times_ms
    finally:
        _measured.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the block to one of the ``STAGES``, inside of :func:`measured`."""
    times_ms = _measured.get()
    started = time.perf_counter()
    try:
        yield
    finally:
        if times_ms is not None:
            times_ms[name] += (time.perf_counter() - started) * 1e3
