"""Stage times over a sliding window, and counts of what was dropped and why."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

STAGES = ("decode", "sync", "prepare", "infer", "post", "publish", "total")


@dataclass(frozen=True)
class StageSummary:
    """Times of one stage over the window, seconds."""

    count: int
    mean_s: float
    p99_s: float
    max_s: float


class StageTimer:
    """Times of the stages of one frame set, seconds by stage name."""

    def __init__(self) -> None:
        """Start with no stage measured."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block and add it to the stage's time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Profiler:
    """Collects stage times and drop reasons; safe to use from several threads."""

    def __init__(self, window: int = 500) -> None:
        """Keep the last `window` values of every stage."""
        self._window = window
        self._times: dict[str, deque[float]] = {}
        self._drops: Counter[str] = Counter()
        self._published = 0
        self._formed = 0
        self._lock = threading.Lock()

    def add(self, seconds: Mapping[str, float]) -> None:
        """Record the stage times of one published frame set."""
        with self._lock:
            self._published += 1
            for stage, value in seconds.items():
                self._times.setdefault(stage, deque(maxlen=self._window)).append(value)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count frame sets or frames that were not answered."""
        with self._lock:
            self._drops[reason] += count

    def form(self) -> None:
        """Count a complete set."""
        with self._lock:
            self._formed += 1

    def clear(self) -> None:
        """Begin all counts and times anew."""
        with self._lock:
            self._times.clear()
            self._drops.clear()
            self._published = self._formed = 0

    @property
    def formed(self) -> int:
        """Complete sets so far."""
        with self._lock:
            return self._formed

    @property
    def published(self) -> int:
        """Frame sets answered so far."""
        with self._lock:
            return self._published

    def drops(self) -> dict[str, int]:
        """Drops by reason so far."""
        with self._lock:
            return dict(self._drops)

    def summary(self) -> dict[str, StageSummary]:
        """Mean, 99th percentile and maximum of every stage in the window."""
        with self._lock:
            copies = {stage: np.array(values) for stage, values in self._times.items()}
        return {
            stage: StageSummary(
                count=len(values),
                mean_s=float(values.mean()),
                p99_s=float(np.percentile(values, 99)),
                max_s=float(values.max()),
            )
            for stage, values in copies.items()
        }
