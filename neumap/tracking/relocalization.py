"""Searching the whole map on request: each request tracks by itself, from nothing, until it has an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from neumap.tracking.ports import Cancellable, Clock
from neumap.tracking.requests import RelocalizeAnswer
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import ONE_CAMERA, Fix, Track, apart_from_claim, see, settled


@dataclass(frozen=True)
class Seen:
    """What one image gave, perhaps with others: a fix or the reason for none, perhaps one ``near`` a pose that somebody
    claims, and other places that look alike with their evidence; by ``cameras``, that of the image the first.
    """

    stamp_ns: int
    fix: Fix | None
    reason: str
    near: Fix | None = None
    evidence: int = 0
    others: tuple[tuple[Fix, int], ...] = ()
    cameras: tuple[str, ...] = ONE_CAMERA


@dataclass(eq=False)
class Search:
    """One request that waits for its answer. Images up to ``newer_than`` were taken into work before it came."""

    prior: Fix | None
    newer_than: int | None
    done: Callable[[RelocalizeAnswer], None]
    timer: Cancellable | None = None
    track: Track = field(default_factory=Track)
    image_ns: int | None = None
    reason: str = "no image arrived"


class Relocalization:
    """The requests that wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._searches: list[Search] = []

    @property
    def pending(self) -> bool:
        """Whether somebody waits."""
        return bool(self._searches)

    @property
    def prior(self) -> Fix | None:
        """The pose that the longest waiting request claims, of those that claim one."""
        return next((search.prior for search in self._searches if search.prior is not None), None)

    def begin(
        self,
        prior: Fix | None,
        newer_than: int | None,
        timeout_s: float,
        map_id: Callable[[], str],
        done: Callable[[RelocalizeAnswer], None],
    ) -> None:
        """Search in images newer than a stamp, for so long; ``done`` is called once, with the answer."""
        search = Search(prior, newer_than, done)

        def give_up() -> None:
            reason = f"{search.reason} within {timeout_s:g} s"
            self._answer(search, RelocalizeAnswer(None, reason, map_id(), image_ns=search.image_ns))

        search.timer = self._clock.call_after(timeout_s, give_up)
        self._searches.append(search)

    def see(self, seen: Seen, map_id: str, settings: Settings) -> Track | None:
        """Let all requests look at an image; return the track that one of them found and all should go on with."""
        found = None
        for search in tuple(self._searches):
            if search.newer_than is not None and seen.stamp_ns <= search.newer_than:
                continue
            fix, reason = settled(search.prior, seen.fix, seen.near, settings), seen.reason
            if fix is not None and search.prior is not None:
                apart = apart_from_claim(search.prior, fix, settings)
                if not apart.confirms:
                    fix, reason = None, f"the image says {apart} from the prior"
            search.track = see(search.track, seen.stamp_ns, fix, reason, settings, seen.cameras)
            search.image_ns, search.reason = seen.stamp_ns, search.track.reason
            if search.track.believed and search.track.fix is not None:
                found = search.track
                latency_s = (self._clock.now_ns() - seen.stamp_ns) * 1e-9
                answer = RelocalizeAnswer(
                    search.track.fix, "", map_id, seen.evidence, seen.stamp_ns, latency_s, seen.others
                )
                self._answer(search, answer)
        return found

    def abandon(self, reason: str, map_id: str) -> None:
        """Answer all requests with a failure."""
        for search in tuple(self._searches):
            self._answer(search, RelocalizeAnswer(None, reason, map_id, image_ns=search.image_ns))

    def _answer(self, search: Search, answer: RelocalizeAnswer) -> None:
        self._searches.remove(search)
        if search.timer is not None:
            search.timer.cancel()
        search.done(answer)
