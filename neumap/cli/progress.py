"""Shows the progress of each stage on stderr: bars on a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import Any

# _LINE_EVERY_S: interval of the lines where stderr is no terminal, seconds.
_LINE_EVERY_S = 20.0
_BAR = "{desc:<17}{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}, {remaining} left]"


class StageProgress(AbstractContextManager["StageProgress"]):
    """Called with ``(stage, done, total)``; leaving the context ends the bar, so that output starts on a new line."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: Any = None
        self._started = self._said = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` steps of ``stage`` are done."""
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._started = self._said = time.monotonic()
            if sys.stderr.isatty():
                from tqdm import tqdm

                self._bar = tqdm(total=total, desc=stage, bar_format=_BAR, file=sys.stderr, dynamic_ncols=True)
        if self._bar is None:
            self._show_line(done, total)
        else:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.refresh()

    def _show_line(self, done: int, total: int) -> None:
        now = time.monotonic()
        spent = now - self._started
        if done >= total:
            print(f"{self._stage}: done ({spent:.1f} s)", file=sys.stderr, flush=True)
        elif done and now - self._said > _LINE_EVERY_S:
            left = spent * (total - done) / done
            print(f"{self._stage}: {done} of {total}, about {left:.0f} s left", file=sys.stderr, flush=True)
            self._said = now

    def close(self) -> None:
        """End the stage."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stage = ""

    def __exit__(self, *_: object) -> None:
        self.close()
