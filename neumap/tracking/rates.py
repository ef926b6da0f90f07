"""Rates of images, the cost of a search, and latency, over a sliding window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

# WINDOW_S: length of the sliding window, seconds.
WINDOW_S = 10.0


@dataclass(frozen=True)
class Rates:
    """Images searched per second, the median cost of one, and the 95th percentile of latency; in seconds, NaN without
    images.
    """

    searched_hz: float
    cost_s: float
    latency_s: float


class Window:
    """Values of the last ``WINDOW_S`` seconds, counted from ``now_ns`` on."""

    def __init__(self, now_ns: int) -> None:
        self._since_ns = now_ns
        self._kept: deque[tuple[int, float]] = deque()

    def add(self, now_ns: int, value: float = 0.0) -> None:
        """Add a value."""
        self._kept.append((now_ns, value))
        self._forget(now_ns)

    def add_to_last(self, value: float) -> None:
        """Add to the last value, unless it left the window."""
        if self._kept:
            now_ns, before = self._kept.pop()
            self._kept.append((now_ns, before + value))

    def rate_hz(self, now_ns: int) -> float:
        """Return the number of values per second."""
        self._forget(now_ns)
        return len(self._kept) / min(WINDOW_S, max((now_ns - self._since_ns) * 1e-9, 1e-9))

    def quantile(self, share: float, now_ns: int) -> float:
        """Return a quantile of the values; NaN without any."""
        self._forget(now_ns)
        return float(np.quantile([value for _, value in self._kept], share)) if self._kept else float("nan")

    def _forget(self, now_ns: int) -> None:
        while self._kept and (now_ns - self._kept[0][0]) * 1e-9 >= WINDOW_S:
            self._kept.popleft()


class Meter:
    """Measures :class:`Rates` from ``now_ns`` on."""

    def __init__(self, now_ns: int) -> None:
        self._costs, self._latencies = Window(now_ns), Window(now_ns)

    def searched(self, now_ns: int, cost_s: float) -> None:
        """Count an image that was searched in ``cost_s`` seconds."""
        self._costs.add(now_ns, cost_s)

    def searched_on(self, cost_s: float) -> None:
        """Add a further cost of the last image."""
        self._costs.add_to_last(cost_s)

    def concluded(self, now_ns: int, latency_s: float) -> None:
        """Count a decision, ``latency_s`` seconds after the image's stamp."""
        self._latencies.add(now_ns, latency_s)

    def rates(self, now_ns: int) -> Rates:
        """Return the rates as of now."""
        costs, latencies = self._costs, self._latencies
        return Rates(costs.rate_hz(now_ns), costs.quantile(0.5, now_ns), latencies.quantile(0.95, now_ns))
