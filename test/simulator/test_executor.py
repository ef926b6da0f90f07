"""What the simulator's executor does beyond what was recorded of ROS 2: virtual time, waiting coroutines, replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rosbags")

from neumap_ros import simulator
from neumap_ros.simulator import SimulatorError, rclpy, virtual_time
from neumap_ros.simulator.messages import from_cdr, message_class, service_class
from neumap_ros.simulator.rclpy.callback_groups import ReentrantCallbackGroup
from neumap_ros.simulator.rclpy.clock import Clock
from neumap_ros.simulator.rclpy.executors import SingleThreadedExecutor
from neumap_ros.simulator.rclpy.node import Node
from neumap_ros.simulator.rclpy.parameter import Parameter
from neumap_ros.simulator.rclpy.task import Future

SECOND = 10**9
String = message_class("std_msgs/msg/String")
Trigger = service_class("std_srvs/srv/Trigger")


@pytest.fixture
def executor() -> Iterator[SingleThreadedExecutor]:
    virtual_time.reset()
    simulator.log_to_stderr(False)
    rclpy.init(args=[])
    made = SingleThreadedExecutor()
    yield made
    made.shutdown()
    rclpy.try_shutdown()
    simulator.log_to_stderr(True)


@pytest.fixture
def node(executor: SingleThreadedExecutor) -> Node:
    made = Node("node")
    executor.add_node(made)
    return made


class Sim:
    """A node on simulated time, and who publishes it."""

    def __init__(self, executor: SingleThreadedExecutor) -> None:
        self.executor = executor
        self.node = Node("sim", parameter_overrides=[Parameter("use_sim_time", value=True)])
        executor.add_node(self.node)
        self._publisher = Node("player").create_publisher(message_class("rosgraph_msgs/msg/Clock"), "/clock", 10)

    def tick(self, seconds: float) -> None:
        nanoseconds = round(seconds * SECOND)
        clock = self._publisher.msg_type()
        clock.clock.sec, clock.clock.nanosec = divmod(nanoseconds, SECOND)
        self._publisher.publish(clock)
        self.executor.spin_until_idle()

    def now(self) -> float:
        seconds: float = self.node.get_clock().now().nanoseconds / 1e9
        return seconds


@pytest.fixture
def sim(executor: SingleThreadedExecutor) -> Sim:
    return Sim(executor)


def since_start() -> float:
    return (virtual_time.now_ns() - virtual_time.START_NS) / SECOND


def test_spinning_goes_to_the_next_timer_at_most_by_the_timeout(executor: SingleThreadedExecutor, node: Node) -> None:
    fired: list[float] = []
    node.create_timer(0.25, lambda: fired.append(since_start()))
    executor.spin_once(timeout_sec=0.125)
    assert (since_start(), fired) == (0.125, [])
    executor.spin_once()
    executor.spin_once(timeout_sec=10.0)
    assert (since_start(), fired) == (0.5, [0.25, 0.5])
    executor.spin_once(timeout_sec=0.0)
    assert since_start() == 0.5


def test_spinning_that_cannot_end_raises(executor: SingleThreadedExecutor, node: Node) -> None:
    timer = node.create_timer(1.0, lambda: None)
    timer.cancel()
    with pytest.raises(SimulatorError, match="never end"):
        executor.spin_once()
    with pytest.raises(SimulatorError, match="never end"):
        executor.spin()
    with pytest.raises(SimulatorError, match="never end"):
        executor.spin_until_future_complete(Future())


def test_waiting_for_clock_that_cannot_end_raises(sim: Sim) -> None:
    sim.tick(10.0)
    sim.node.create_timer(1.0, lambda: None)
    with pytest.raises(SimulatorError, match="/clock"):
        sim.executor.spin_once()


def test_blocking_calls_raise(executor: SingleThreadedExecutor, node: Node, sim: Sim) -> None:
    client = node.create_client(Trigger, "absent")
    with pytest.raises(SimulatorError, match="call_async"):
        client.call(Trigger.Request())
    with pytest.raises(SimulatorError, match="absent"):
        client.wait_for_service()
    clock = sim.node.get_clock()
    with pytest.raises(SimulatorError, match="simulated time"):
        clock.sleep_until(clock.now())


def test_running_all_that_is_ready_takes_no_time(executor: SingleThreadedExecutor, node: Node) -> None:
    got: list[str] = []
    publisher = node.create_publisher(String, "out", 10)
    second = node.create_publisher(String, "second", 10)
    node.create_subscription(String, "out", lambda m: second.publish(String(data=m.data * 2)), 10)
    node.create_subscription(String, "second", lambda m: got.append(m.data), 10)
    node.create_timer(1.0, lambda: got.append("timer"))
    assert not executor.has_ready_work()
    for text in "ab":
        publisher.publish(String(data=text))
    assert executor.has_ready_work()
    assert executor.spin_until_idle() == 4
    assert got == ["aa", "bb"]
    assert since_start() == 0
    assert not executor.has_ready_work()


def test_nodes_that_do_not_come_to_rest(executor: SingleThreadedExecutor, node: Node) -> None:
    publisher = node.create_publisher(String, "echo", 1)
    node.create_subscription(String, "echo", publisher.publish, 1)
    publisher.publish(String())
    with pytest.raises(SimulatorError, match="rest"):
        executor.spin_until_idle()


def test_a_waiting_coroutine_is_not_polled(executor: SingleThreadedExecutor, node: Node) -> None:
    steps: list[str] = []
    future = Future()

    async def work() -> str:
        steps.append("begin")
        result: str = await future
        steps.append("end")
        return result

    task = executor.create_task(work)
    executor.spin_until_idle()
    assert steps == ["begin"]
    assert not executor.has_ready_work()
    executor.spin_once(timeout_sec=1.0)
    assert steps == ["begin"]
    future.set_result("x")
    assert executor.spin_until_idle() == 1
    assert (steps, task.result()) == (["begin", "end"], "x")


def test_a_coroutine_sees_the_exception_of_its_future(executor: SingleThreadedExecutor) -> None:
    future = Future()
    seen: list[str] = []

    async def work() -> None:
        try:
            await future
        except KeyError as error:
            seen.append(str(error))

    executor.create_task(work)
    executor.spin_until_idle()
    future.set_exception(KeyError("lost"))
    executor.spin_until_idle()
    assert seen == ["'lost'"]


def test_a_coroutine_may_not_await_something_else(executor: SingleThreadedExecutor) -> None:
    class Foreign:
        def __await__(self) -> Iterator[None]:
            yield None

    async def work() -> None:
        await Foreign()

    executor.create_task(work)
    with pytest.raises(SimulatorError, match="awaits"):
        executor.spin_until_idle()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_waiting_service_holds_up_its_group(executor: SingleThreadedExecutor, node: Node, reentrant: bool) -> None:
    """As in rclpy: in the default group nothing else of the node runs until the answer is given."""
    got: list[str] = []
    future = Future()

    async def serve(request: Any, response: Any) -> Any:
        response.message = await future
        return response

    node.create_service(Trigger, "go", serve, callback_group=ReentrantCallbackGroup() if reentrant else None)
    node.create_subscription(String, "in", lambda m: got.append(m.data), 10)
    other = Node("other")
    executor.add_node(other)
    answers = [other.create_client(Trigger, "go").call_async(Trigger.Request()) for _ in range(2)]
    executor.spin_until_idle()
    other.create_publisher(String, "in", 10).publish(String(data="x"))
    executor.spin_until_idle()
    assert got == (["x"] if reentrant else [])
    future.set_result("done")
    executor.spin_until_idle()
    assert got == ["x"]
    assert [answer.result().message for answer in answers] == ["done", "done"]


def test_cancelling_a_task_ends_its_coroutine(executor: SingleThreadedExecutor) -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await Future()
        finally:
            ended.append(True)

    task = executor.create_task(work)
    executor.spin_until_idle()
    task.cancel()
    assert (ended, task.cancelled(), executor.spin_until_idle()) == ([True], True, 0)


def test_scheduled_calls_on_virtual_time(executor: SingleThreadedExecutor, node: Node) -> None:
    log: list[tuple[str, float]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: log.append((name, since_start()))

    executor.schedule(2 * SECOND, note("late"))
    executor.schedule(1 * SECOND, note("early"))
    executor.schedule(1 * SECOND, note("never")).cancel()
    node.create_timer(1.5, note("timer"))
    assert executor.next_due_ns() == virtual_time.START_NS + SECOND
    while since_start() < 2.5:
        executor.spin_once(timeout_sec=0.5)
    assert log == [("early", 1.0), ("timer", 1.5), ("late", 2.0)]


def test_what_is_due_together_runs_in_the_order_of_its_time(executor: SingleThreadedExecutor, node: Node) -> None:
    log: list[int] = []
    for delay in (3, 1, 2):
        executor.schedule(delay, lambda delay=delay: log.append(delay))  # type: ignore[misc]
    virtual_time.advance_by(5)
    assert executor.spin_until_idle() == 3
    assert log == [1, 2, 3]


def test_a_call_may_cancel_another_that_is_due(executor: SingleThreadedExecutor, node: Node) -> None:
    log: list[str] = []
    executor.schedule(1, lambda: second.cancel())
    second = executor.schedule(2, lambda: log.append("second"))
    virtual_time.advance_by(5)
    executor.spin_until_idle()
    assert log == []
    assert executor.next_due_ns() is None


def test_an_error_in_a_scheduled_call_leaves_the_executor(executor: SingleThreadedExecutor, node: Node) -> None:
    executor.schedule(0, lambda: {}["x"])
    with pytest.raises(KeyError):
        executor.spin_once(timeout_sec=0.0)
    assert not executor.has_ready_work()


def test_scheduled_calls_on_simulated_time(sim: Sim) -> None:
    log: list[float] = []
    sim.tick(100.0)
    sim.executor.schedule(SECOND // 2, lambda: log.append(sim.now()))
    virtual_time.advance_by(10 * SECOND)
    sim.executor.spin_until_idle()
    sim.tick(100.25)
    assert log == []
    assert sim.executor.next_due_ns() == 100_500_000_000
    sim.tick(100.5)
    assert log == [100.5]
    assert sim.executor.next_due_ns() is None


def test_jumps_are_no_time_for_scheduled_calls(sim: Sim) -> None:
    log: list[float] = []
    sim.executor.schedule(SECOND, lambda: log.append(sim.now()))
    sim.tick(100.0)
    assert log == []
    sim.tick(100.5)
    sim.tick(20.0)
    assert sim.executor.next_due_ns() == 20_500_000_000
    sim.tick(20.25)
    assert log == []
    sim.tick(20.5)
    assert log == [20.5]


def test_next_due_on_simulated_time(sim: Sim) -> None:
    sim.tick(100.0)
    assert sim.executor.next_due_ns() is None
    sim.node.create_timer(1.0, lambda: None)
    assert sim.executor.next_due_ns() == 101 * SECOND
    wall = sim.node.create_timer(0.25, lambda: None, clock=Clock())
    assert sim.executor.next_due_ns() == 100_250_000_000
    virtual_time.advance_by(SECOND // 8)
    assert sim.executor.next_due_ns() == 100_125_000_000
    sim.node.destroy_timer(wall)
    sim.tick(101.0)
    assert sim.executor.next_due_ns() == 102 * SECOND


def test_next_due_of_mixed_nodes_is_on_virtual_time(sim: Sim) -> None:
    sim.tick(100.0)
    other = Node("other")
    sim.executor.add_node(other)
    sim.node.create_timer(1.0, lambda: None)
    assert sim.executor.next_due_ns() is None
    other.create_timer(2.0, lambda: None)
    assert sim.executor.next_due_ns() == virtual_time.START_NS + 2 * SECOND


def replay() -> list[tuple[str, str, int]]:
    """A player that goes from due moment to due moment; what is published, in order."""
    virtual_time.reset()
    rclpy.init(args=[])
    published: list[tuple[str, str, int]] = []
    stop = simulator.tap(lambda m: published.append((m.topic, m.type_name, len(m.cdr))))
    executor = SingleThreadedExecutor()
    sim = Sim(executor)
    out = sim.node.create_publisher(String, "out", 1)
    sim.node.create_timer(0.3, lambda: out.publish(String(data=f"timer {sim.now()}")))

    def on_image(message: Any) -> None:
        executor.schedule(SECOND // 5, lambda: out.publish(String(data=f"{message.data} {sim.now():.3f}")))

    sim.node.create_subscription(String, "image", on_image, 1)
    images = Node("images").create_publisher(String, "image", 1)
    sim.tick(50.0)
    for index in range(5):
        target = 50 * SECOND + index * SECOND // 4
        while (due := executor.next_due_ns()) is not None and due < target:
            sim.tick(due / SECOND)
        sim.tick(target / SECOND)
        images.publish(String(data=f"image {index}"))
        executor.spin_until_idle()
    stop()
    rclpy.shutdown()
    return published


def test_two_runs_are_equal() -> None:
    first = replay()
    assert [size for topic, _, size in first if topic == "/out"]
    assert first == replay()


def test_taps_hear_of_every_message(executor: SingleThreadedExecutor, node: Node) -> None:
    heard: list[simulator.Published] = []
    stop = simulator.tap(heard.append)
    publisher = node.create_publisher(String, "out", 1)
    sent = String(data="first")
    publisher.publish(sent)
    sent.data = "changed"
    virtual_time.advance_by(5)
    publisher.publish(String(data="second"))
    stop()
    publisher.publish(String(data="third"))
    assert [m.message.data for m in heard] == ["first", "second"]
    assert [m.stamp_ns - virtual_time.START_NS for m in heard] == [0, 5]
    assert {(m.topic, m.type_name) for m in heard} == {("/out", "std_msgs/msg/String")}
    assert from_cdr(heard[0].cdr, String).data == "first"


def test_log_lines_can_be_heard_and_silenced(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[simulator.LogLine] = []
    stop = simulator.on_log(lines.append)
    node.get_logger().warning("careful")
    node.get_logger().debug("details")
    assert capsys.readouterr().err == ""
    simulator.log_to_stderr(True)
    node.get_logger().info("loud")
    assert capsys.readouterr().err == "[INFO] [1735689600.000000000] [node]: loud\n"
    stop()
    node.get_logger().info("unheard")
    assert [(line.severity, line.name, line.text) for line in lines] == [
        ("WARN", "node", "careful"),
        ("INFO", "node", "loud"),
    ]
    assert lines[0].function == "test_log_lines_can_be_heard_and_silenced"


def test_what_belongs_to_a_shut_down_context_is_gone(node: Node) -> None:
    publisher = node.create_publisher(String, "out", 1)
    node.create_subscription(String, "out", print, 1)
    assert publisher.get_subscription_count() == 1
    rclpy.shutdown()
    rclpy.init(args=[])
    other = Node("other")
    assert other.get_node_names() == ["other"]
    assert other.count_subscribers("out") == 0


def test_quality_of_service_that_is_not_simulated(node: Node) -> None:
    from neumap_ros.simulator.rclpy.duration import Duration
    from neumap_ros.simulator.rclpy.qos import QoSProfile, ReliabilityPolicy

    for qos in (
        QoSProfile(depth=1, deadline=Duration(seconds=1)),
        QoSProfile(depth=1, lifespan=Duration(seconds=1)),
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_AVAILABLE),
    ):
        with pytest.raises(NotImplementedError):
            node.create_publisher(String, "out", qos)
