"""How many images come and are searched, what that costs, and how late the answers are."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

# WINDOW_S: what is told is that of so long a time up to now, seconds
WINDOW_S = 10.0


@dataclass(frozen=True)
class Rates:
    """Images that came and that were searched, each second; the seconds that the worker says one cost (median), and
    within which of its stamp 95 of 100 were concluded; NaN where there was none.
    """

    came_hz: float
    searched_hz: float
    cost_s: float
    latency_s: float


class Meter:
    """Counts from ``now_ns`` on."""

    def __init__(self, now_ns: int) -> None:
        self._since_ns = now_ns
        self._came: deque[tuple[int, float]] = deque()
        self._costs: deque[tuple[int, float]] = deque()
        self._latencies: deque[tuple[int, float]] = deque()

    def came(self, now_ns: int) -> None:
        """Count an image."""
        self._keep(self._came, now_ns, 0.0)

    def searched(self, now_ns: int, cost_s: float) -> None:
        """Count one that was searched."""
        self._keep(self._costs, now_ns, cost_s)

    def searched_on(self, cost_s: float) -> None:
        """Count what the image searched last cost more."""
        # on a slow computer that one may be forgotten by now
        if self._costs:
            now_ns, before_s = self._costs.pop()
            self._costs.append((now_ns, before_s + cost_s))

    def concluded(self, now_ns: int, latency_s: float) -> None:
        """Count one that it was decided about."""
        self._keep(self._latencies, now_ns, latency_s)

    def rates(self, now_ns: int) -> Rates:
        """Return the rates as of now."""
        for kept in (self._came, self._costs, self._latencies):
            self._forget(kept, now_ns)
        passed_s = min(WINDOW_S, max((now_ns - self._since_ns) * 1e-9, 1e-9))
        cost_s, latency_s = (
            float(np.quantile([value for _, value in kept], share)) if kept else float("nan")
            for kept, share in ((self._costs, 0.5), (self._latencies, 0.95))
        )
        return Rates(len(self._came) / passed_s, len(self._costs) / passed_s, cost_s, latency_s)

    def _keep(self, kept: deque[tuple[int, float]], now_ns: int, value: float) -> None:
        kept.append((now_ns, value))
        self._forget(kept, now_ns)

    def _forget(self, kept: deque[tuple[int, float]], now_ns: int) -> None:
        while kept and (now_ns - kept[0][0]) * 1e-9 >= WINDOW_S:
            kept.popleft()
