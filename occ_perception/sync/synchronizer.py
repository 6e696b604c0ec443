"""Sets of images that belong together: one anchor image, the nearest image of every other source.

Sources are matched by stamp, never by arrival. An anchor image is answered exactly once: by a set
or by a drop with a reason. Nothing here blocks or calls out; every method returns what happened.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from occ_perception.core.errors import SyncError

T = TypeVar("T")

TIME_JUMPED_BACK = "time jumped back"
REPEATED_STAMP = "repeated stamp"


@dataclass(frozen=True, eq=False)
class SyncedSet(Generic[T]):
    """One image per source.

    Attributes:
        stamp_ns: Stamp of the anchor image.
        stamps_ns: Stamp of every image by source, the anchor included.
        payloads: What was handed in, by source.
        waited_s: Wall time between the anchor's arrival and the set, seconds.
    """

    stamp_ns: int
    stamps_ns: Mapping[str, int]
    payloads: Mapping[str, T]
    waited_s: float


@dataclass(frozen=True)
class Drop:
    """An anchor image that gets no set, and why (one phrase per kind of reason)."""

    stamp_ns: int
    reason: str


@dataclass(frozen=True, eq=False)
class Outcome(Generic[T]):
    """What one call brought about.

    Attributes:
        sets: Complete sets, oldest first.
        drops: Anchor images given up.
        has_jumped_back: Time ran backwards; everything that waited was forgotten.
    """

    sets: Sequence[SyncedSet[T]] = ()
    drops: Sequence[Drop] = ()
    has_jumped_back: bool = False


@dataclass(frozen=True, eq=False)
class _Image(Generic[T]):
    stamp_ns: int
    payload: T
    arrived_s: float


class Synchronizer(Generic[T]):
    """Forms sets around the images of an anchor source.

    Anchor images are served in order of their stamps. Each takes, from every other source, the
    nearest image within `max_skew_s` that no earlier set took (the earlier one of two equally
    near). It is served as soon as no nearer image can come, because stamps of a source only grow.
    """

    def __init__(
        self,
        sources: Sequence[str],
        anchor: str,
        max_skew_s: float,
        *,
        depth: int = 10,
        min_period_s: float = 0.0,
        patience_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start empty.

        Args:
            sources: Names of all sources, the anchor among them.
            anchor: Source whose images define the sets.
            max_skew_s: Largest distance in time between the anchor image and a partner, seconds.
            depth: Images kept per source; the oldest give way.
            min_period_s: Images of one source are at least this far apart, seconds. Lets a set go
                out without waiting for the next image when a partner is earlier than its anchor.
            patience_s: Wall time after which `poll` decides about a waiting anchor, seconds.
            clock: Wall clock, seconds.

        Raises:
            SyncError: The sources do not contain the anchor, repeat, or a number is out of range.
        """
        if anchor not in sources or len(set(sources)) != len(sources):
            raise SyncError(
                f"anchor '{anchor}' must be one of the distinct sources {list(sources)}"
            )
        if max_skew_s < 0 or min_period_s < 0 or patience_s < 0 or depth < 1:
            raise SyncError("skew, period and patience must not be negative, depth at least 1")
        self._anchor = anchor
        self._others = tuple(source for source in sources if source != anchor)
        self._skew_ns = round(max_skew_s * 1e9)
        self._min_step_ns = max(1, round(min_period_s * 1e9))
        self._patience_s = patience_s
        self._depth = depth
        self._clock = clock
        self._missing = {s: f"no {s} image within {max_skew_s:g} s" for s in self._others}
        self._waiting: dict[str, deque[_Image[T]]] = {source: deque() for source in sources}
        self._newest_ns: dict[str, int] = {}
        self._drops: Counter[str] = Counter()
        self._sets_formed = 0
        self._lock = threading.Lock()

    @property
    def sets_formed(self) -> int:
        """Complete sets so far."""
        with self._lock:
            return self._sets_formed

    def drops_by_reason(self) -> dict[str, int]:
        """Images given up so far, by reason."""
        with self._lock:
            return dict(self._drops)

    def add(self, source: str, stamp_ns: int, payload: T) -> Outcome[T]:
        """Take in one image and return the sets and drops that it settles.

        Raises:
            SyncError: The source is not one of this synchroniser.
        """
        if source not in self._waiting:
            raise SyncError(f"unknown source '{source}'; known: {', '.join(self._waiting)}")
        with self._lock:
            newest_ns = self._newest_ns.get(source)
            if newest_ns == stamp_ns:  # the first image with this stamp makes the set
                self._drops[REPEATED_STAMP] += 1
                is_anchor = source == self._anchor
                return Outcome(drops=[Drop(stamp_ns, REPEATED_STAMP)] if is_anchor else [])
            has_jumped_back = newest_ns is not None and stamp_ns < newest_ns
            drops = self._forget(TIME_JUMPED_BACK) if has_jumped_back else []
            self._newest_ns[source] = stamp_ns
            self._waiting[source].append(_Image(stamp_ns, payload, self._clock()))
            sets, given_up = self._serve(lambda: len(self._waiting[self._anchor]) > self._depth)
            self._forget_oldest_partners()
            return self._outcome(sets, [*drops, *given_up], has_jumped_back)

    def poll(self) -> Outcome[T]:
        """Decide about anchors that waited longer than `patience_s`; call it now and then.

        Without it the last images of a stream, or those beside a silent source, would wait for
        newer anchors for ever.
        """
        with self._lock:
            limit_s = self._clock() - self._patience_s
            anchors = self._waiting[self._anchor]
            sets, drops = self._serve(lambda: anchors[0].arrived_s <= limit_s)
            return self._outcome(sets, drops, False)

    def reset(self, reason: str = "reset") -> Outcome[T]:
        """Forget everything that waits."""
        with self._lock:
            return self._outcome([], self._forget(reason), False)

    def _outcome(
        self, sets: list[SyncedSet[T]], drops: list[Drop], has_jumped_back: bool
    ) -> Outcome[T]:
        self._sets_formed += len(sets)
        self._drops.update(drop.reason for drop in drops)
        return Outcome(sets, drops, has_jumped_back)

    def _forget(self, reason: str) -> list[Drop]:
        drops = [Drop(image.stamp_ns, reason) for image in self._waiting[self._anchor]]
        for images in self._waiting.values():
            images.clear()
        self._newest_ns.clear()
        return drops

    def _forget_oldest_partners(self) -> None:
        for source in self._others:
            while len(self._waiting[source]) > self._depth:
                self._waiting[source].popleft()

    def _serve(self, is_overdue: Callable[[], bool]) -> tuple[list[SyncedSet[T]], list[Drop]]:
        """Answer anchors, oldest first, until one may still get a better partner."""
        sets: list[SyncedSet[T]] = []
        drops: list[Drop] = []
        anchors = self._waiting[self._anchor]
        while anchors:
            anchor = anchors[0]
            partners = {s: self._nearest(s, anchor.stamp_ns) for s in self._others}
            hopeless = [s for s, p in partners.items() if p is None and self._is_past(s, anchor)]
            must_decide = is_overdue()
            if not (hopeless or must_decide or self._is_settled(anchor, partners)):
                break
            anchors.popleft()
            lacking = hopeless or [s for s, partner in partners.items() if partner is None]
            if lacking:
                drops.append(Drop(anchor.stamp_ns, self._missing[lacking[0]]))
            else:
                sets.append(self._form(anchor, partners))
        return sets, drops

    def _nearest(self, source: str, stamp_ns: int) -> _Image[T] | None:
        def distance_ns(image: _Image[T]) -> int:
            return abs(image.stamp_ns - stamp_ns)

        best = min(self._waiting[source], key=distance_ns, default=None)
        return best if best is not None and distance_ns(best) <= self._skew_ns else None

    def _next_possible_ns(self, source: str) -> int | None:
        newest_ns = self._newest_ns.get(source)
        return None if newest_ns is None else newest_ns + self._min_step_ns

    def _is_past(self, source: str, anchor: _Image[T]) -> bool:
        """Whether every image still to come is too late for the anchor."""
        next_ns = self._next_possible_ns(source)
        return next_ns is not None and next_ns > anchor.stamp_ns + self._skew_ns

    def _is_settled(self, anchor: _Image[T], partners: Mapping[str, _Image[T] | None]) -> bool:
        """Whether every partner is there and no image still to come can be nearer."""
        for source, partner in partners.items():
            next_ns = self._next_possible_ns(source)
            if partner is None or next_ns is None:
                return False
            if next_ns < anchor.stamp_ns + abs(partner.stamp_ns - anchor.stamp_ns):
                return False
        return True

    def _form(self, anchor: _Image[T], partners: Mapping[str, _Image[T] | None]) -> SyncedSet[T]:
        images = {self._anchor: anchor}
        for source, partner in partners.items():
            if partner is not None:
                images[source] = partner
                self._waiting[source].remove(partner)
        return SyncedSet(
            stamp_ns=anchor.stamp_ns,
            stamps_ns={source: image.stamp_ns for source, image in images.items()},
            payloads={source: image.payload for source, image in images.items()},
            waited_s=self._clock() - anchor.arrived_s,
        )
