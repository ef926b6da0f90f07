"""Searching the whole map on request: each request tracks by itself, from nothing, until it has an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from geometry_msgs.msg import PoseWithCovariance
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

from neumap.tracking.tracker import Fix, Track, TrackerSettings, difference, see, settled
from neumap_ros.conversions import covariance_list, pose_message, stamped_pose
from neumap_ros.srv import Relocalize


@dataclass
class Search:
    """One request that waits for its answer. Images up to ``newer_than`` were taken into work before it came."""

    prior: Fix | None
    newer_than: int | None
    future: Any
    timer: Any = None
    track: Track = field(default_factory=Track)
    image_ns: int | None = None
    reason: str = "no image arrived"


@dataclass(frozen=True)
class Seen:
    """What one image gave: a fix or the reason for none, perhaps one ``near`` a pose that somebody claims, and other
    places that look alike with their evidence.
    """

    stamp_ns: int
    fix: Fix | None
    reason: str
    near: Fix | None = None
    evidence: int = 0
    others: tuple[tuple[Fix, int], ...] = ()


class Relocalization:
    """The requests that wait."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._searches: list[Search] = []

    @property
    def pending(self) -> bool:
        return bool(self._searches)

    @property
    def prior(self) -> Fix | None:
        """The pose that the longest waiting request claims, of those that claim one."""
        return next((search.prior for search in self._searches if search.prior is not None), None)

    def begin(self, prior: Fix | None, newer_than: int | None, timeout_s: float, map_id: str) -> Future:
        """A future of the response, to the search of images newer than a stamp, for so long."""
        search = Search(prior, newer_than, Future())
        search.timer = self._node.create_timer(timeout_s, lambda: self._give_up(search, timeout_s, map_id))
        self._searches.append(search)
        return search.future

    def see(self, seen: Seen, map_id: str, map_frame: str, now_ns: int, settings: TrackerSettings) -> Track | None:
        """Lets all requests look at an image; the track that one of them found and all should go on with, if any."""
        found = None
        for search in list(self._searches):
            if search.newer_than is not None and seen.stamp_ns <= search.newer_than:
                continue
            fix, reason = settled(search.prior, seen.fix, seen.near, settings), seen.reason
            if fix is not None and search.prior is not None:
                apart = difference(search.prior, fix, settings)
                if not apart.confirms:
                    fix, reason = None, f"the image says {apart} from the prior"
            search.track = see(search.track, seen.stamp_ns, fix, reason, settings)
            search.image_ns, search.reason = seen.stamp_ns, search.track.reason
            if search.track.believed and search.track.fix is not None:
                found = search.track
                self._answer(search, response(seen, search.track.fix, map_id, map_frame, now_ns))
        return found

    def abandon(self, reason: str, map_id: str) -> None:
        """Answers all requests with a failure."""
        for search in list(self._searches):
            self._answer(search, failure(reason, map_id, search.image_ns))

    def _give_up(self, search: Search, timeout_s: float, map_id: str) -> None:
        self._answer(search, failure(f"{search.reason} within {timeout_s:g} s", map_id, search.image_ns))

    def _answer(self, search: Search, answer: Relocalize.Response) -> None:
        self._searches.remove(search)
        self._node.destroy_timer(search.timer)
        search.future.set_result(answer)


def response(seen: Seen, fix: Fix, map_id: str, map_frame: str, now_ns: int) -> Relocalize.Response:
    """The answer with a pose."""
    answer = Relocalize.Response()
    answer.success = True
    answer.pose = stamped_pose(fix, map_frame)
    answer.inliers = seen.evidence
    answer.image_stamp = answer.pose.header.stamp
    answer.latency = (now_ns - seen.stamp_ns) * 1e-9
    answer.map_id = map_id
    for other, evidence in seen.others:
        alternative = PoseWithCovariance(pose=pose_message(other.map_from_base))
        alternative.covariance = covariance_list(other.covariance)
        answer.alternatives.append(alternative)
        answer.alternative_inliers.append(evidence)
    return answer


def failure(reason: str, map_id: str, image_ns: int | None = None) -> Relocalize.Response:
    """The answer without a pose."""
    answer = Relocalize.Response()
    answer.reason = reason
    answer.map_id = map_id
    if image_ns is not None:
        answer.image_stamp.sec, answer.image_stamp.nanosec = divmod(image_ns, 1_000_000_000)
    return answer
