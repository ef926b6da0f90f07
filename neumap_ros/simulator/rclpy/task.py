"""Futures, and tasks that an executor runs."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any

from neumap_ros.simulator import SimulatorError


class Future:
    """A result that is not there yet. Coroutines may await it and are run again once it is done."""

    def __init__(self, *, executor: Any = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._callbacks: list[Callable[[Future], Any]] = []
        self._waiting: list[Task] = []
        self._executor: Callable[[], Any] = lambda: None
        self._set_executor(executor)

    def __await__(self) -> Generator[Future, None, Any]:
        while not self._done and not self._cancelled:
            yield self
        return self.result()

    def cancel(self) -> None:
        """Gives up; without effect where it is done."""
        if not self._done:
            self._cancelled = True
            self._wake()

    def cancelled(self) -> bool:
        """Whether somebody gave up."""
        return self._cancelled

    def done(self) -> bool:
        """Whether a result or an exception is there."""
        return self._done

    def result(self) -> Any:
        """The result, None before there is one; raises the exception where that was set."""
        if self._exception is not None:
            raise self._exception
        return self._result

    def exception(self) -> BaseException | None:
        """The exception, if that was set."""
        return self._exception

    def set_result(self, result: Any) -> None:
        """Makes it done."""
        self._result = result
        self._finish()

    def set_exception(self, exception: BaseException) -> None:
        """Makes it done without a result."""
        self._exception = exception
        self._finish()

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Calls ``callback(self)`` once it is done: from its executor where it has one, else at once."""
        if not self._done:
            self._callbacks.append(callback)
        elif (executor := self._executor()) is not None:
            executor.create_task(callback, self)
        else:
            callback(self)

    def _set_executor(self, executor: Any) -> None:
        self._executor = (lambda: None) if executor is None else weakref.ref(executor)

    def _finish(self) -> None:
        self._done, self._cancelled = True, False
        self._wake()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self.add_done_callback(callback)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            task._runnable = True


class Task(Future):
    """A function or coroutine that an executor runs when it is called; done when that has returned or raised."""

    def __init__(
        self,
        handler: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__(executor=executor)
        self._coroutine: Coroutine[Any, None, Any] | None = None
        self._handler = handler
        self._args = args or ()
        self._kwargs = kwargs or {}
        self._runnable = True
        self._executing = False

    def __call__(self) -> None:
        """Runs until the end or until the next future that is not done."""
        if not self._runnable or self._executing or self._done or self._cancelled:
            return
        self._executing, self._runnable = True, False
        try:
            self._advance()
        except Exception as error:
            self.set_exception(error)
        except BaseException:
            self._cancelled = True
            raise
        finally:
            self._executing = False

    def _advance(self) -> None:
        if self._coroutine is None:
            if not inspect.iscoroutinefunction(self._handler):
                self.set_result(self._handler(*self._args, **self._kwargs))
                return
            self._coroutine = self._handler(*self._args, **self._kwargs)
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as end:
            self.set_result(end.value)
            return
        if not isinstance(awaited, Future):
            self._coroutine.close()
            raise SimulatorError("a coroutine of a node awaits something else than a future of rclpy")
        awaited._waiting.append(self)

    def executing(self) -> bool:
        """Whether it runs at this moment."""
        return self._executing

    def cancel(self) -> None:
        """Gives up, and ends the coroutine where it waits."""
        if self._done:
            return
        super().cancel()
        if self._coroutine is not None and not self._executing:
            self._coroutine.close()


async def await_or_execute(callback: Callable[..., Any], *args: Any) -> Any:
    """The result of a function or of a coroutine function."""
    if inspect.iscoroutinefunction(callback):
        return await callback(*args)
    return callback(*args)
