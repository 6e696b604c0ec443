"""A queue of one in which the newest item wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Holds at most one item; putting a newer one hands back the one it displaced."""

    def __init__(self) -> None:
        """Start empty and open."""
        self._item: T | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is taken in any more."""
        with self._changed:
            return self._is_closed

    def put(self, item: T) -> T | None:
        """Store `item`; return the item that nobody took in time, if any (or `item` if closed)."""
        with self._changed:
            if self._is_closed:
                return item
            displaced, self._item = self._item, item
            self._changed.notify()
            return displaced

    def take(self) -> T | None:
        """Wait for an item and remove it; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._is_closed)
            item, self._item = self._item, None
            return item

    def clear(self) -> T | None:
        """Remove and return what is waiting."""
        with self._changed:
            item, self._item = self._item, None
            return item

    def close(self) -> T | None:
        """Wake the taker for good; return what was still waiting."""
        with self._changed:
            self._is_closed = True
            item, self._item = self._item, None
            self._changed.notify_all()
            return item
