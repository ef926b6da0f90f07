"""Executors: run callbacks one at a time, and let virtual time pass where there is nothing to do.

``schedule()``, ``next_due_ns()``, ``has_ready_work()`` and ``spin_until_idle()`` are the simulator's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from neumap_ros.simulator import SimulatorError, virtual_time
from neumap_ros.simulator.rclpy._entity import Entity
from neumap_ros.simulator.rclpy.clock import EVERY_JUMP, Clock, ClockChange, TimeJump
from neumap_ros.simulator.rclpy.context import Context
from neumap_ros.simulator.rclpy.task import Future, Task
from neumap_ros.simulator.rclpy.utilities import get_default_context, timeout_sec_to_nsec

# More callbacks than this without time passing are a loop that never ends.
MOST_CALLBACKS = 100_000


class ExternalShutdownException(Exception):  # noqa: N818
    """ROS was shut down while something waited."""

    def __init__(self, *args: object) -> None:
        super().__init__("The context was shut down", *args)


class ShutdownException(Exception):  # noqa: N818
    """The executor was shut down while something waited."""


class TimeoutException(Exception):  # noqa: N818
    """Nothing happened in time."""


class ConditionReachedException(Exception):  # noqa: N818
    """What was waited for has happened."""


class ScheduledCall:
    """A callback that runs once some time has passed. Jumps of the clock do not count as time passing.

    A first /clock message is such a jump, and so is one that goes back.
    """

    def __init__(self, clock: Clock, delay_ns: int, callback: Callable[[], Any]) -> None:
        self._clock = clock
        self._due = clock._now_ns() + delay_ns
        self._callback = callback
        self._before = 0
        self._jumps = clock.create_jump_callback(
            EVERY_JUMP, pre_callback=self._before_jump, post_callback=self._after_jump
        )
        self._open = True

    def cancel(self) -> None:
        """The callback will not run; without effect where it has."""
        self._open = False
        self._jumps.unregister()

    def _before_jump(self) -> None:
        self._before = self._clock._now_ns()

    def _after_jump(self, jump: TimeJump) -> None:
        now = self._clock._now_ns()
        if now < self._before or self._before == 0 or jump.clock_change is not ClockChange.ROS_TIME_NO_CHANGE:
            self._due += now - self._before

    def _is_ready(self) -> bool:
        return self._open and self._due <= self._clock._now_ns()

    def _run(self) -> None:
        self.cancel()
        self._callback()


class Executor:
    """Runs the callbacks of nodes in rounds, one callback per spin_once().

    A round has the tasks that can go on, the scheduled calls that are due, and of each node (in the order in which
    they were added) one piece of work of each event, timer, subscription, guard condition, client and service that is
    ready when the round begins, in this order, and within each kind in order of creation.
    """

    def __init__(self, *, context: Context | None = None) -> None:
        self._context = get_default_context() if context is None else context
        self._nodes: list[Any] = []
        self._tasks: list[tuple[Task, Any]] = []
        self._scheduled: list[ScheduledCall] = []
        self._round: Iterator[Task] = iter(())
        self._is_shutdown = False
        self._depth = 0

    @property
    def context(self) -> Context:
        """What it ends with."""
        return self._context

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stops, and leaves the nodes; False where that happens inside one of its callbacks."""
        self._is_shutdown = True
        if self._depth:
            return False
        self._nodes.clear()
        return True

    def wake(self) -> None:
        """Nothing: it never sleeps."""

    def add_node(self, node: Any) -> bool:
        """Takes a node over from its executor; False where it has it already."""
        if node in self._nodes:
            return False
        self._nodes.append(node)
        node.executor = self
        return True

    def remove_node(self, node: Any) -> None:
        """Leaves a node."""
        if node in self._nodes:
            self._nodes.remove(node)

    def get_nodes(self) -> list[Any]:
        """The nodes it has."""
        return list(self._nodes)

    def create_task(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Task:
        """Runs a function or coroutine function soon; the task is the future of its result."""
        task = Task(callback, args, kwargs, executor=self)
        self._tasks.append((task, None))
        return task

    def spin(self) -> None:
        """Runs callbacks until a shutdown; SimulatorError where nothing can happen any more."""
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Runs one callback; virtual time passes until there is one, ``timeout_sec`` at most.

        What the callback raises is raised. SimulatorError where there will never be one and no timeout was given.
        """
        self._spin_once(timeout_sec_to_nsec(timeout_sec))

    def spin_once_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """As ``spin_once()``, without effect where ``future`` is done."""
        if not future.done():
            self.spin_once(timeout_sec)

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Runs callbacks until ``future`` is done, or ``timeout_sec`` have passed."""
        timeout_ns = timeout_sec_to_nsec(timeout_sec)
        end = virtual_time.now_ns() + timeout_ns
        while self._context.ok() and not future.done() and not future.cancelled() and not self._is_shutdown:
            if timeout_ns < 0:
                self._spin_once(-1)
                continue
            left = end - virtual_time.now_ns()
            self._spin_once(max(0, left))
            if left <= 0:
                return

    def schedule(self, delay_ns: int, callback: Callable[[], Any]) -> ScheduledCall:
        """Runs ``callback`` once ``delay_ns`` have passed, as if a thread had worked so long.

        Time passes as the nodes see it: as /clock says where all of them use that, else it is virtual time.
        """
        call = ScheduledCall(self._shared_clock(), delay_ns, callback)
        self._scheduled.append(call)
        return call

    def has_ready_work(self) -> bool:
        """Whether a callback would run without time passing."""
        return (
            any(task._runnable and self._has(node) for task, node in self._tasks)
            or any(call._is_ready() for call in self._scheduled)
            or any(entity._can_run() for node in self._nodes for entity in node._entities())
        )

    def spin_until_idle(self) -> int:
        """Runs all that is ready without time passing; says how many callbacks.

        SimulatorError where that does not end.
        """
        for count in range(MOST_CALLBACKS):
            if not self._spin_once(0):
                return count
        raise SimulatorError(f"the nodes do not come to rest: {MOST_CALLBACKS} callbacks ran while no time passed")

    def next_due_ns(self) -> int | None:
        """When the next timer or scheduled call is due, in nanoseconds; None where none is.

        On the nodes' common ROS clock where all of them follow /clock, so that one can publish just that there;
        what runs on virtual time counts as if both clocks went equally fast. Else on virtual time, without what
        waits for /clock.
        """
        shared = self._shared_clock()
        found = []
        for clock, due in self._waiting():
            if clock._follows_messages == shared._follows_messages:
                found.append(due)
            elif shared._follows_messages:
                found.append(shared._now_ns() + max(0, due - clock._now_ns()))
        return min(found, default=None)

    def _shared_clock(self) -> Clock:
        clocks = [node.get_clock() for node in self._nodes if not node._destroyed]
        if clocks and all(clock._follows_messages for clock in clocks):
            first: Clock = clocks[0]
            return first
        return Clock()

    def _waiting(self) -> Iterator[tuple[Clock, int]]:
        for node in self._nodes:
            for timer in node.timers:
                if (due := timer._due_ns()) is not None and timer.callback_group.can_execute(timer):
                    yield timer.clock, due
        for call in self._scheduled:
            if call._open:
                yield call._clock, call._due

    def _has(self, node: Any) -> bool:
        return node is None or node in self._nodes

    def _spin_once(self, timeout_ns: int) -> bool:
        task = self._next(timeout_ns)
        if task is None:
            return False
        self._depth += 1
        try:
            task()
        finally:
            self._depth -= 1
            self._tasks = [entry for entry in self._tasks if not (entry[0].done() or entry[0].cancelled())]
        if (error := task.exception()) is not None:
            raise error
        return True

    def _next(self, timeout_ns: int) -> Task | None:
        end = virtual_time.now_ns() + timeout_ns
        while not self._is_shutdown:
            if not self._context.ok():
                raise ExternalShutdownException
            for task in self._round:
                return task
            self._round = self._make_round()
            for task in self._round:
                return task
            if not self._pass_time(end if timeout_ns >= 0 else None):
                return None
        return None

    def _pass_time(self, end: int | None) -> bool:
        """Goes to the next moment at which something is due, or to ``end``; whether something is due then."""
        now = virtual_time.now_ns()
        dues = [due for clock, due in self._waiting() if not clock._follows_messages and due > now]
        due = min(dues, default=None)
        if due is None and end is None:
            raise SimulatorError(
                "spinning would never end: no message waits, and no timer or scheduled call can become due "
                "(those of nodes with use_sim_time wait for /clock)"
            )
        if due is None or (end is not None and due > end):
            virtual_time.advance_to(now if end is None else end)
            return False
        virtual_time.advance_to(due)
        return True

    def _make_round(self) -> Iterator[Task]:
        for task, node in reversed(list(self._tasks)):
            if task._runnable and self._has(node):
                yield task
        calls = sorted((call for call in self._scheduled if call._is_ready()), key=lambda call: call._due)
        ready = [(entity, node) for node in self._nodes for entity in node._entities() if entity._can_run()]
        for call in calls:
            if call._open:
                yield self._started(call._run, (), None)
        self._scheduled = [call for call in self._scheduled if call._open]
        for entity, node in ready:
            if entity._can_run() and self._has(node):
                yield self._started(_execute, (entity,), node)

    def _started(self, handler: Callable[..., Any], args: tuple[Any, ...], node: Any) -> Task:
        task = Task(handler, args, executor=self)
        self._tasks.append((task, node))
        return task


async def _execute(entity: Entity) -> None:
    entity.callback_group.beginning_execution(entity)
    try:
        work = entity._take()
        if work is not None:
            await work()
    finally:
        entity.callback_group.ending_execution(entity)


class SingleThreadedExecutor(Executor):
    """Runs callbacks in the thread that spins."""


class MultiThreadedExecutor(Executor):
    """The same: one thread is all there is, but groups of callbacks mean what they mean with many."""

    def __init__(self, num_threads: int | None = None, *, context: Context | None = None) -> None:
        super().__init__(context=context)
