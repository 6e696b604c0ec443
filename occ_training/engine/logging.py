"""What a run tells: curves for TensorBoard, one JSON line per step, a progress bar."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

LINES = "log.jsonl"


class RunLog:
    """The log of one run; every process makes one, only the first of them writes.

    Args:
        folder: Folder of the run.
        steps: Length of the training, for the time that remains.
        start: Steps that were done before; lines of later steps are taken out of the log.
        active: Whether this process writes.
    """

    def __init__(self, folder: Path, steps: int, start: int = 0, *, active: bool = True) -> None:
        self._active = active
        self._folder = folder
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[news]}"),
            console=Console(stderr=True),
            disable=not active,
        )
        self._task = self._progress.add_task("train", total=steps, completed=start, news="")
        self._start = start

    def __enter__(self) -> Self:
        if self._active:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = SummaryWriter(str(self._folder / "curves"), purge_step=self._start)
            self._cut_lines()
            self._lines = (self._folder / LINES).open("a", encoding="utf-8")
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()
        if self._active:
            self._writer.close()
            self._lines.close()

    def values(self, step: int, values: Mapping[str, float], group: str = "train") -> None:
        """Numbers of a step.

        Args:
            step: Steps done so far.
            values: Numbers by name.
            group: Kind of numbers, e.g. "train" or "validation".
        """
        if not self._active:
            return
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)
        line = {"step": step, "group": group, **{k: float(v) for k, v in values.items()}}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()

    def advance(self, step: int, news: str) -> None:
        """Move the bar; `news` stands beside it."""
        self._progress.update(self._task, completed=step, news=news)

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._active:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _cut_lines(self) -> None:
        """A killed run may have logged steps that are now done again."""
        path = self._folder / LINES
        if not path.is_file():
            return
        kept = []
        for line in path.read_text("utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= self._start:
                    kept.append(line + "\n")
            except (ValueError, KeyError):  # the line at which the run was killed
                continue
        path.write_text("".join(kept), encoding="utf-8")


class Stopwatch:
    """Where the time goes: waiting for data, or computing."""

    def __init__(self) -> None:
        self._waiting = self._samples = 0.0
        self._since = self._mark = time.perf_counter()

    def data_wanted(self) -> None:
        """From here on the loop waits for data."""
        self._mark = time.perf_counter()

    def data_came(self, samples: int) -> None:
        """The data is here."""
        self._waiting += time.perf_counter() - self._mark
        self._samples += samples

    def lap(self) -> dict[str, float]:
        """Samples per second and share of waiting since the last lap."""
        now = time.perf_counter()
        span = max(now - self._since, 1e-9)
        lap = {"samples_per_s": self._samples / span, "data_wait": self._waiting / span}
        self._waiting, self._samples, self._since = 0.0, 0.0, now
        return lap


def memory_gb(device: torch.device) -> float:
    """Largest use of the GPU's memory so far; on a CPU, what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return psutil.Process(os.getpid()).memory_info().rss / 2**30
