"""Every anchor image is accounted for: counted, reported on ~/latency, and logged when dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from occ_perception.runtime.profiler import Profiler

_LOG_PERIOD_S = 5.0


class Accounting:
    """Counts and reports what became of the sets; safe to use from several threads."""

    def __init__(
        self,
        publish: Callable[[int, str, Mapping[str, float], tuple[int, int, int]], None],
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with all counts at zero.

        Args:
            publish: Called for every anchor with stamp, reason (empty = published), stage times
                and the counts formed, published, dropped.
            warn: Logs a sentence.
            clock: Wall clock, seconds.
        """
        self.profiler = Profiler()
        self._recent = ""
        self._publish = publish
        self._warn = warn
        self._clock = clock
        self._logged_s: dict[str, float] = {}
        self._lock = threading.Lock()

    def formed(self) -> None:
        """A complete set went to the workers."""
        self.profiler.form()

    def published(self, stamp_ns: int, seconds: Mapping[str, float]) -> None:
        """A set became a grid."""
        self.profiler.add(seconds)
        self._publish(stamp_ns, "", seconds, self.counts())

    def dropped(self, stamp_ns: int, reason: str, detail: str = "") -> None:
        """An anchor image gets no grid; logged at most every few seconds per reason."""
        self.profiler.drop(reason)
        text = f"{reason}: {detail}" if detail else reason
        self._recent = text
        if self._may_log(reason):
            count = self.profiler.drops()[reason]
            self._warn(f"dropped the set of {stamp_ns / 1e9:.3f} ({text}); {count} so far")
        self._publish(stamp_ns, reason, {}, self.counts())

    def counts(self) -> tuple[int, int, int]:
        """Sets formed, published, dropped (anchors without a complete set included)."""
        drops = sum(self.profiler.drops().values())
        return self.profiler.formed, self.profiler.published, drops

    def take_recent(self) -> str:
        """Why the newest set was dropped since the last call; empty if none was."""
        recent, self._recent = self._recent, ""
        return recent

    def clear(self) -> None:
        """Begin all counts anew."""
        self.profiler.clear()
        self._recent = ""
        with self._lock:
            self._logged_s.clear()

    def _may_log(self, reason: str) -> bool:
        with self._lock:
            now_s, last_s = self._clock(), self._logged_s.get(reason)
            if last_s is not None and now_s - last_s < _LOG_PERIOD_S:
                return False
            self._logged_s[reason] = now_s
            return True
