"""Relocalize requests: each runs its own track, from the start, until it has an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from neumap.tracking.fix import Fix
from neumap.tracking.ports import Cancellable, Clock
from neumap.tracking.requests import RelocalizeAnswer
from neumap.tracking.settings import Settings
from neumap.tracking.tracker import ONE_CAMERA, Track, apart_from_claim, see, settled


@dataclass(frozen=True)
class Seen:
    """The result of one image, or of several searched together.

    A ``fix`` or the ``reason`` for none; a fix ``near`` the claimed pose, if any; ``others``: places that look alike,
    with their evidence; and the ``cameras``, that of the image first.
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
    """A pending request; only images with stamps after ``newer_than`` count, since earlier ones began before it."""

    prior: Fix | None
    newer_than: int | None
    done: Callable[[RelocalizeAnswer], None]
    timer: Cancellable | None = None
    track: Track = field(default_factory=Track)
    image_ns: int | None = None
    reason: str = "no image arrived"


class Relocalization:
    """The pending requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._searches: list[Search] = []

    @property
    def pending(self) -> bool:
        """Whether there are any."""
        return bool(self._searches)

    @property
    def prior(self) -> Fix | None:
        """The claimed pose of the oldest request that has one."""
        return next((search.prior for search in self._searches if search.prior is not None), None)

    def begin(
        self,
        prior: Fix | None,
        newer_than: int | None,
        timeout_s: float,
        map_id: Callable[[], str],
        done: Callable[[RelocalizeAnswer], None],
    ) -> None:
        """Add a request for images after a stamp, with a timeout; ``done`` is called once, with the answer."""
        search = Search(prior, newer_than, done)

        def give_up() -> None:
            reason = f"{search.reason} within {timeout_s:g} s"
            self._answer(search, RelocalizeAnswer(None, reason, map_id(), image_ns=search.image_ns))

        search.timer = self._clock.call_after(timeout_s, give_up)
        self._searches.append(search)

    def see(self, seen: Seen, map_id: str, settings: Settings) -> Track | None:
        """Update all requests with an image; return the track of one that was answered, for the session to adopt."""
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
        """Answer all requests with a failure, for a ``reason``."""
        for search in tuple(self._searches):
            self._answer(search, RelocalizeAnswer(None, reason, map_id, image_ns=search.image_ns))

    def _answer(self, search: Search, answer: RelocalizeAnswer) -> None:
        self._searches.remove(search)
        if search.timer is not None:
            search.timer.cancel()
        search.done(answer)
