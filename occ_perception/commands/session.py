"""Child processes that live and die together; what they say is shown under their names."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Thread
from types import TracebackType
from typing import Protocol, Self

from occ_perception.core.errors import OccError

LOG_PREFIX = re.compile(r"^\[\w+\] \[[\d.]+\] \[[^\]]*\]: ")
COMPLAINTS = ("[ERROR]", "[FATAL]")
PATIENCE_S = 20.0  # a recorder closes its bag, a node ends the frame in hand
LAST_LINES = 20


class ProcessError(OccError):
    """A child process ended when it should not have."""


class Spec(Protocol):
    """What is started; `ros.launch_plan.ProcessSpec` is one."""

    name: str
    executable: str
    module: str
    arguments: Sequence[str]
    env: Mapping[str, str]


class Child:
    """A running process."""

    def __init__(self, spec: Spec, say: Callable[[str, str], None]) -> None:
        """Start it in a session of its own: Ctrl-C reaches us alone, and we end it in order."""
        self.name = spec.name
        self.last = deque[str](maxlen=LAST_LINES)
        program = [sys.executable, "-m", spec.module] if spec.module else [spec.executable]
        self.process = subprocess.Popen(
            [*program, *spec.arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = Thread(target=self._forward, args=(say,), name=spec.name, daemon=True)
        self._reader.start()

    def _forward(self, say: Callable[[str, str], None]) -> None:
        for line in self.process.stdout or ():
            if text := line.rstrip():
                self.last.append(text)
                say(self.name, text)

    @property
    def code(self) -> int | None:
        """Exit code, None while it runs."""
        return self.process.poll()

    def last_sentence(self) -> str:
        """The last complaint, else the last line, without the time and name of a log line."""
        self._reader.join(1.0)
        complaints = [line for line in self.last if line.startswith(COMPLAINTS)]
        lines = complaints or self.last
        return LOG_PREFIX.sub("", lines[-1]) if lines else "it said nothing"

    def end(self, patience_s: float = PATIENCE_S) -> None:
        """Ask it to end, then insist.

        Not by SIGINT: a program that is still importing would answer it with a traceback.
        """
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.code is None:
                self.process.send_signal(number)
            try:
                self.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
            self._reader.join(1.0)
            return

    def kill(self) -> None:
        """End it at once."""
        if self.code is None:
            self.process.kill()


class Session:
    """Processes by name, as a context manager: none of them outlives it."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        """Start nothing yet.

        Args:
            say: Called in a thread with a process's name and a line that it wrote.
        """
        self._say = say
        self._children: dict[str, Child] = {}

    def start(self, spec: Spec) -> None:
        """Start a process."""
        self._children[spec.name] = Child(spec, self._say)

    def __contains__(self, name: str) -> bool:
        return name in self._children

    def check(self, may_end: Collection[str] = ()) -> None:
        """See that all still run.

        Args:
            may_end: Names of processes that may have ended well.

        Raises:
            ProcessError: One has ended; the sentence has its last words.
        """
        for child in self._children.values():
            if child.code is not None and not (child.name in may_end and child.code == 0):
                raise ProcessError(
                    f"{child.name} ended with code {child.code}: {child.last_sentence()}"
                )

    def is_running(self, name: str) -> bool:
        """Whether a process of this session still runs."""
        return self._children[name].code is None

    def end(self, name: str) -> None:
        """End a process in its own time.

        Raises:
            ProcessError: It did not end well.
        """
        child = self._children.pop(name)
        child.end()
        if child.code not in (0, -signal.SIGTERM):
            raise ProcessError(f"{name} ended with code {child.code}: {child.last_sentence()}")

    def __enter__(self) -> Self:
        """Have SIGTERM end the session as Ctrl-C does."""
        self._previous = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Who is impatient and presses Ctrl-C again must not leave processes behind.
        signals = (signal.SIGINT, signal.SIGTERM)
        previous = [signal.signal(number, lambda *_: self._kill()) for number in signals]
        try:
            # Sources first, the recorder before the node: what was said is still written down.
            for name in sorted(self._children, key=_order):
                self._children[name].end()
        finally:
            self._kill()
            signal.signal(signal.SIGINT, previous[0])
            signal.signal(signal.SIGTERM, self._previous)

    def _kill(self) -> None:
        for child in self._children.values():
            child.kill()


def wait_until(
    session: Session,
    is_done: Callable[[], bool],
    may_end: Collection[str],
    tick: Callable[[], None],
) -> None:
    """Wait while the processes run.

    Args:
        session: What has to stay alive.
        is_done: Ends the wait.
        may_end: Names of processes that may end well meanwhile.
        tick: Called ten times a second, e.g. to show progress.

    Raises:
        ProcessError: A process ended.
    """
    while not is_done():
        session.check(may_end)
        tick()
        time.sleep(0.1)
    session.check(may_end)
    tick()


def _order(name: str) -> int:
    order = ("player", "recorder", "node")
    return next((i for i, part in enumerate(order) if part in name), len(order))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
