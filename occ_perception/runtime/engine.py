"""The two workers behind a node: one prepares views, one owns the device and infers.

set of raw inputs -> slot(1) -> prepare worker -> slot(1) -> inference worker -> result callback
                                  (one helper thread per camera; images that come while the
                                  network rests are prepared at once, before their set is complete)

Whatever arrives while a worker is busy replaces what waits: the newest complete set wins, and every
replaced set is reported as dropped. Nothing here knows ROS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import torch

from occ_perception.core.errors import OccError, PredictionError
from occ_perception.core.types import CameraFrame, FrameSet, Prediction, PreparedView
from occ_perception.runtime.buffers import LatestSlot
from occ_perception.runtime.profiler import StageTimer
from occ_perception.systems.base import Context, OccupancySystem

Raw = TypeVar("Raw")

SUPERSEDED = "newer set waiting"
RESET = "reset"
SHUTDOWN = "shutdown"
CRASH = "unexpected error"


@dataclass(eq=False)
class Job(Generic[Raw]):
    """One frame set on its way through the workers.

    Attributes:
        stamp_ns: Anchor stamp.
        raw: What the source delivered (messages), turned into a `FrameSet` by the prepare worker.
        epoch: Number of resets before it came; a job of an earlier epoch is not answered.
        created_s: When it was handed over, `time.perf_counter` seconds.
        timer: Stage times so far.
        views: Filled by the prepare worker.
        context: Filled by the prepare worker.
    """

    stamp_ns: int
    raw: Raw
    epoch: int = 0
    created_s: float = field(default_factory=time.perf_counter)
    timer: StageTimer = field(default_factory=StageTimer)
    views: tuple[PreparedView, ...] = ()
    context: Context | None = None


class Engine(Generic[Raw]):
    """Runs a system on the newest complete input."""

    def __init__(
        self,
        system: OccupancySystem,
        decode: Callable[[Raw, StageTimer], FrameSet],
        on_result: Callable[[Prediction, Job[Raw]], None],
        on_drop: Callable[[int, str, str], None],
        on_crash: Callable[[BaseException], None],
        between: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        """Wire the workers; nothing runs before `start`.

        Args:
            system: What is run; touched by the workers only.
            decode: Raw input to frames; runs in the prepare worker. `OccError` drops the set.
            on_result: Called in the inference worker with every prediction (publishes it).
            on_drop: Called with stamp, reason (a phrase to count by) and details for every set that
                will not be answered.
            on_crash: Called with an unexpected exception; the worker lives on.
            between: Called in the inference worker before each set, to change the system where it
                cannot be seen; returns which of its offers are wanted.
        """
        self._system = system
        self._decode = decode
        self._on_result = on_result
        self._on_drop = on_drop
        self._on_crash = on_crash
        self._between = between
        self._incoming: LatestSlot[Job[Raw]] = LatestSlot()
        self._prepared: LatestSlot[Job[Raw]] = LatestSlot()
        self._epoch = 0
        self._threads = [
            threading.Thread(target=self._prepare_loop, name="prepare", daemon=True),
            threading.Thread(target=self._infer_loop, name="infer", daemon=True),
        ]
        # Resizing lets go of the interpreter, so the cameras are prepared side by side.
        self._helpers = ThreadPoolExecutor(len(system.needs.cameras), thread_name_prefix="view")
        self._early: WeakKeyDictionary[CameraFrame, PreparedView] = WeakKeyDictionary()
        self._is_inferring = False

    def start(self) -> None:
        """Start both workers."""
        for thread in self._threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        """Whether a worker still has a job in hand, or waits for one."""
        return any(thread.is_alive() for thread in self._threads)

    def early(self, make: Callable[[], CameraFrame]) -> Future[CameraFrame] | None:
        """Prepare an image before its set is complete, while there is nothing else to do.

        Args:
            make: Decodes the image; runs in a helper thread.

        Returns:
            The frame to be, whose view is kept until its set is prepared; None where the image
            shall be decoded with its set, since who is busy anyhow will not need every image.
        """
        if self._is_inferring or self._incoming.is_closed:
            return None
        try:
            return self._helpers.submit(self._make_early, make)
        except RuntimeError:  # stopped meanwhile
            return None

    def _make_early(self, make: Callable[[], CameraFrame]) -> CameraFrame:
        frame = make()
        self._early[frame] = self._system.preprocess(frame)
        return frame

    def submit(self, stamp_ns: int, raw: Raw) -> None:
        """Hand over a complete set; never blocks."""
        is_late = self._incoming.is_closed
        displaced = self._incoming.put(Job(stamp_ns, raw, self._epoch))
        self._report(displaced, SHUTDOWN if is_late else SUPERSEDED)

    def reset(self) -> None:
        """Forget the sets under way and, before the next inference, the system's history."""
        self._epoch += 1
        self._report(self._incoming.clear(), RESET)
        self._report(self._prepared.clear(), RESET)

    def stop(self, timeout_s: float = 10.0) -> bool:
        """End the workers after the job in hand; what waits is reported as dropped.

        Returns:
            Whether both workers have ended; a network in the middle of a frame cannot be stopped.
        """
        self._report(self._incoming.close(), SHUTDOWN)
        self._report(self._prepared.close(), SHUTDOWN)
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(max(0.0, deadline_s - time.monotonic()))
        return not self.is_running

    def _report(self, job: Job[Raw] | None, reason: str) -> None:
        if job is not None:
            self._on_drop(job.stamp_ns, reason, "")

    def _prepare_loop(self) -> None:
        with self._helpers:
            while (job := self._incoming.take()) is not None:
                if self._guard(job, self._prepare):
                    is_late = self._prepared.is_closed
                    displaced = self._prepared.put(job)
                    self._report(displaced, SHUTDOWN if is_late else SUPERSEDED)

    def _infer_loop(self) -> None:
        epoch = self._epoch
        while (job := self._prepared.take()) is not None:
            if job.epoch != self._epoch:  # was in a worker's hands during the reset
                self._report(job, RESET)
                continue
            if job.epoch != epoch:
                self._system.reset()
                epoch = job.epoch
            self._is_inferring = True
            self._guard(job, self._infer)
            self._is_inferring = False

    def _guard(self, job: Job[Raw], step: Callable[[Job[Raw]], None]) -> bool:
        """Run one step; a bad set costs that set, never the worker."""
        try:
            step(job)
        except OccError as error:
            self._on_drop(job.stamp_ns, error.reason, str(error))
        except Exception as error:  # thread boundary: the node must survive
            self._on_drop(job.stamp_ns, CRASH, f"{type(error).__name__}: {error}")
            self._on_crash(error)
        else:
            return True
        return False

    def _prepare(self, job: Job[Raw]) -> None:
        frames = self._decode(job.raw, job.timer)
        with job.timer.stage("prepare"):
            job.views = tuple(self._helpers.map(self._view, frames.frames))
            job.context = Context(frames.stamp_ns, frames.T_world_base)

    def _view(self, frame: CameraFrame) -> PreparedView:
        return self._early.pop(frame, None) or self._system.preprocess(frame)

    def _infer(self, job: Job[Raw]) -> None:
        if job.context is None:
            raise PredictionError("a set reached inference unprepared; report this as a bug")
        context = replace(job.context, wanted=self._between())
        with job.timer.stage("infer"), torch.inference_mode():
            prediction = self._system.infer(job.views, context)
            if prediction.labels.is_cuda:
                torch.cuda.synchronize(prediction.labels.device)
        self._on_result(prediction, job)
