"""A double of AMCL beside a session, as nav2_amcl behaves: it says nothing before it has an initial pose, carries that
to the present by odometry, and sends map -> odom with each scan, stamped ahead by its transform_tolerance.
"""

from __future__ import annotations

from bench import Bench
from streams import SECOND, transform_message

from neumap.arrays import FloatArray
from neumap.geometry.se3 import invert_pose
from neumap.geometry.transform_tree import TransformError
from neumap.replay.rig import Timed
from neumap.tracking.fix import Fix

SCAN_S, AHEAD_NS = 0.1, SECOND


class Amcl:
    """Runs from ``from_s`` on; it takes ``answer_s`` to act on an initial pose. ``map_from_odom`` is what it believes,
    None before it has a pose.
    """

    def __init__(
        self, bench: Bench, from_s: float = 0.0, answer_s: float = 0.3, map_from_odom: FloatArray | None = None
    ) -> None:
        self._bench, self.answer_s, self.map_from_odom = bench, answer_s, map_from_odom
        self._heard = 0
        self.taken: list[float] = []
        bench.rig.clock.call_after(max(from_s - bench.now_s, 0.0), self._begin)

    def _begin(self) -> None:
        # nobody heard what was published before
        self._heard = len(self._bench.out.initial_poses)
        self._scan()

    def _scan(self) -> None:
        bench = self._bench
        bench.rig.clock.call_after(SCAN_S, self._scan)
        for _, fix in bench.out.initial_poses[self._heard :]:
            self._heard += 1
            bench.rig.clock.call_after(self.answer_s, lambda fix=fix: self._take(fix))
        if self.map_from_odom is not None:
            now_ns = bench.rig.clock.now_ns()
            sent = transform_message(now_ns + AHEAD_NS, "map", "odom", self.map_from_odom)
            bench.rig.deliver(Timed(now_ns, "tf", sent))

    def _take(self, fix: Fix) -> None:
        try:
            odom_from_base = self._bench.rig.transforms.tree.lookup("odom", "base_link", fix.stamp_ns)
        except TransformError:
            return
        self.taken.append(self._bench.now_s)
        self.map_from_odom = fix.map_from_base @ invert_pose(odom_from_base)

    def moved(self, offset: FloatArray) -> None:
        """It believes another pose, as after a long symmetric corridor."""
        assert self.map_from_odom is not None
        self.map_from_odom = offset @ self.map_from_odom
