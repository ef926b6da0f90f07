"""How many images come and are searched, what that costs, and how late the answers are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

# WINDOW_S: what is told is that of so long a time up to now, seconds
WINDOW_S = 10.0


@dataclass(frozen=True)
class Rates:
    """Images that were searched each second; the seconds that the worker says one cost (median), and within which of
    its stamp 95 of 100 were concluded; NaN where there was none.
    """

    searched_hz: float
    cost_s: float
    latency_s: float


class Window:
    """What was counted of late, from ``now_ns`` on."""

    def __init__(self, now_ns: int) -> None:
        self._since_ns = now_ns
        self._kept: deque[tuple[int, float]] = deque()

    def add(self, now_ns: int, value: float = 0.0) -> None:
        """Count one."""
        self._kept.append((now_ns, value))
        self._forget(now_ns)

    def add_to_last(self, value: float) -> None:
        """Count more for the last one; on a slow computer that may be forgotten by now."""
        if self._kept:
            now_ns, before = self._kept.pop()
            self._kept.append((now_ns, before + value))

    def rate_hz(self, now_ns: int) -> float:
        """Return how many there are each second."""
        self._forget(now_ns)
        return len(self._kept) / min(WINDOW_S, max((now_ns - self._since_ns) * 1e-9, 1e-9))

    def quantile(self, share: float, now_ns: int) -> float:
        """Return which value a share of all are below; NaN where there are none."""
        self._forget(now_ns)
        return float(np.quantile([value for _, value in self._kept], share)) if self._kept else float("nan")

    def _forget(self, now_ns: int) -> None:
        while self._kept and (now_ns - self._kept[0][0]) * 1e-9 >= WINDOW_S:
            self._kept.popleft()


class Meter:
    """Counts from ``now_ns`` on."""

    def __init__(self, now_ns: int) -> None:
        self._costs, self._latencies = Window(now_ns), Window(now_ns)

    def searched(self, now_ns: int, cost_s: float) -> None:
        """Count one that was searched."""
        self._costs.add(now_ns, cost_s)

    def searched_on(self, cost_s: float) -> None:
        """Count what the image searched last cost more."""
        self._costs.add_to_last(cost_s)

    def concluded(self, now_ns: int, latency_s: float) -> None:
        """Count one that it was decided about."""
        self._latencies.add(now_ns, latency_s)

    def rates(self, now_ns: int) -> Rates:
        """Return the rates as of now."""
        costs, latencies = self._costs, self._latencies
        return Rates(costs.rate_hz(now_ns), costs.quantile(0.5, now_ns), latencies.quantile(0.95, now_ns))
