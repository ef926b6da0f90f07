"""Which callbacks may begin while others have not ended, as a coroutine that waits has not."""

from __future__ import annotations

import weakref
from typing import Any


class CallbackGroup:
    """Base of the groups."""

    def __init__(self) -> None:
        self.entities: set[weakref.ref[Any]] = set()

    def add_entity(self, entity: Any) -> None:
        """Makes ``entity`` a member."""
        self.entities.add(weakref.ref(entity))

    def has_entity(self, entity: Any) -> bool:
        """Whether ``entity`` is a member."""
        return weakref.ref(entity) in self.entities

    def can_execute(self, entity: Any) -> bool:
        """Whether a callback of ``entity`` may begin now."""
        raise NotImplementedError

    def beginning_execution(self, entity: Any) -> bool:
        """Notes that one begins; False where it must not."""
        raise NotImplementedError

    def ending_execution(self, entity: Any) -> None:
        """Notes that one has ended."""
        raise NotImplementedError


class ReentrantCallbackGroup(CallbackGroup):
    """All at any time."""

    def can_execute(self, entity: Any) -> bool:
        return True

    def beginning_execution(self, entity: Any) -> bool:
        return True

    def ending_execution(self, entity: Any) -> None:
        pass


class MutuallyExclusiveCallbackGroup(CallbackGroup):
    """One at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._active: Any = None

    def can_execute(self, entity: Any) -> bool:
        return self._active is None

    def beginning_execution(self, entity: Any) -> bool:
        if self._active is not None:
            return False
        self._active = entity
        return True

    def ending_execution(self, entity: Any) -> None:
        self._active = None
