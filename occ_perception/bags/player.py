"""Play a bag without ROS: what to publish, and when, against a monotonic clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Protocol

from occ_perception.bags.reader import BagMessage, BagReader
from occ_perception.bags.topics import TopicKind, default_qos, select
from occ_perception.core.errors import BagError, ConfigError

LONGEST_SLEEP_S = 0.02  # so that stop, pause and answers are noticed


class TimeSource(Protocol):
    """Wall time that never jumps; the `time` module is one."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class PlayerSettings:
    """How a bag is played.

    Attributes:
        rate: Bag seconds per wall second; infinite = as fast as possible.
        start_s: Seconds from the beginning of the bag that are left out. Latched messages before
            it (/tf_static) are still sent, first.
        duration_s: Seconds to play; None = to the end.
        loop: Start again at the end. Nothing is shifted: time jumps back, as on other players.
        topics: Topics to play; all if empty.
        remap: New names of topics, by their names in the bag.
        clock_hz: Clock ticks per wall second between messages; 0 = no clock at all. A tick with
            the message's time precedes every message.
    """

    rate: float = 1.0
    start_s: float = 0.0
    duration_s: float | None = None
    loop: bool = False
    topics: tuple[str, ...] = ()
    remap: Mapping[str, str] = field(default_factory=dict)
    clock_hz: float = 100.0

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ConfigError: A value is out of range.
        """
        if not self.rate > 0:
            raise ConfigError(f"rate is {self.rate}: give a positive number, or inf")
        if not 0 <= self.start_s < math.inf:
            raise ConfigError(f"start is {self.start_s} s: give zero or more")
        if self.duration_s is not None and not self.duration_s > 0:
            raise ConfigError(f"duration is {self.duration_s} s: give a positive number")
        if not 0 <= self.clock_hz <= 1000:
            raise ConfigError(f"clock is {self.clock_hz} Hz: give 0 (none) to 1000")


class Lockstep:
    """Who sent an image and has no answer yet; fed by the player and by the answers' receiver."""

    def __init__(self, anchor: str, timeout_s: float | None = None) -> None:
        """Make a lockstep in which nothing is due.

        Args:
            anchor: Topic (as in the bag) whose every message is answered, by its header stamp.
            timeout_s: Longest wait for an answer in wall seconds; None = without end.
        """
        self.anchor = anchor
        self.timeout_s = timeout_s
        self.answers = 0
        self._lock = Lock()
        self._due: set[int] = set()

    def sent(self, stamp_ns: int) -> None:
        """An anchor message is about to be published."""
        with self._lock:
            self._due.add(stamp_ns)

    def answered(self, stamp_ns: int) -> None:
        """An answer has come; one that nobody waits for is ignored."""
        with self._lock:
            if stamp_ns in self._due:
                self._due.remove(stamp_ns)
                self.answers += 1

    @property
    def due(self) -> tuple[int, ...]:
        """Stamps in nanoseconds without an answer, ascending."""
        with self._lock:
            return tuple(sorted(self._due))


class BagPlayer:
    """Plays an open bag into two functions. `stop`, `pause`, `resume` may come from any thread.

    Attributes:
        first_ns: Bag time at which playing starts.
        last_ns: Bag time at which it ends.
        position_ns: Bag time of what was sent last.
        sent: Number of messages sent so far.
        waiting_for: What playing waits for at the moment, for display; empty while it runs.
    """

    def __init__(
        self,
        bag: BagReader,
        settings: PlayerSettings,
        *,
        publish: Callable[[str, bytes], None],
        clock: Callable[[int], None],
        lockstep: Lockstep | None = None,
        time_source: TimeSource = time,
    ) -> None:
        """Prepare playing.

        Args:
            bag: Open bag.
            settings: How to play.
            publish: Called with topic (after remapping) and CDR bytes.
            clock: Called with the bag time in nanoseconds; not at all if clock_hz is 0.
            lockstep: Wait for an answer to every anchor message before the next one is sent.
            time_source: Wall time.

        Raises:
            BagError: Topics are missing, or there is nothing to play in the chosen range.
        """
        self.settings = settings
        self._bag = bag
        self._publish = publish
        self._clock = clock
        self._lockstep = lockstep
        self._time = time_source
        self._stopped, self._paused = Event(), Event()
        self._topics = self._choose_topics()
        self.first_ns, self.last_ns = self._choose_range()
        self.position_ns = self.first_ns
        self.sent = 0
        self.waiting_for = ""
        self._begin = 0.0  # wall time that belongs to first_ns
        self._next_tick = 0.0

    def _choose_topics(self) -> list[str]:
        chosen = select(self._bag.topics, self.settings.topics, self._bag.path)
        if self._lockstep is not None:
            select(chosen, [self._lockstep.anchor], self._bag.path)
        select(self._bag.topics, self.settings.remap, self._bag.path)
        names = [self.settings.remap.get(topic, topic) for topic in chosen]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"after remapping, several topics are {', '.join(sorted(doubled))}")
        return chosen

    def _choose_range(self) -> tuple[int, int]:
        first = self._bag.start_ns + round(self.settings.start_s * 1e9)
        if not self._bag.message_count or first > self._bag.end_ns:
            seconds = (self._bag.end_ns - self._bag.start_ns) / 1e9
            raise BagError(
                f"bag {self._bag.path} has nothing to play from {self.settings.start_s} s on: "
                f"it holds {self._bag.message_count} messages in {seconds:.3f} s"
            )
        if self.settings.duration_s is None:
            return first, self._bag.end_ns
        return first, min(self._bag.end_ns, first + round(self.settings.duration_s * 1e9))

    def pause(self) -> None:
        """Stand still, clock included, until `resume`."""
        self._paused.set()

    def resume(self) -> None:
        """Go on where `pause` came."""
        self._paused.clear()

    def stop(self) -> None:
        """End `run` soon, wherever it is."""
        self._stopped.set()

    @property
    def paused(self) -> bool:
        """Is the player standing still on demand?"""
        return self._paused.is_set()

    def run(self) -> int:
        """Play until the end of the bag or `stop`.

        Returns:
            Number of messages sent.

        Raises:
            BagError: The bag is damaged, or an answer did not come in time.
        """
        while not self._stopped.is_set():
            self._play_once()
            if not self.settings.loop:
                break
        return self.sent

    def _play_once(self) -> None:
        self._begin = self._next_tick = self._time.monotonic()
        self.position_ns = self.first_ns
        for message in self._messages():
            if self._is_anchor(message):
                self._wait_for_answers()
            self._wait_until(max(message.time_ns, self.first_ns))
            if self._stopped.is_set():
                return
            self._send(message)
        self._wait_for_answers()

    def _messages(self) -> Iterator[BagMessage]:
        """Latched messages of the part that is left out, then everything in the range."""
        latched = [t for t in self._topics if self._is_latched(t)]
        if latched and self.first_ns > self._bag.start_ns:
            yield from self._bag.messages(latched, stop_ns=self.first_ns)
        yield from self._bag.messages(
            self._topics, start_ns=self.first_ns, stop_ns=self.last_ns + 1
        )

    def _is_latched(self, topic: str) -> bool:
        info = self._bag.topics[topic]
        return (info.qos or default_qos(topic)).latched or info.kind is TopicKind.TF_STATIC

    def _is_anchor(self, message: BagMessage) -> bool:
        return self._lockstep is not None and message.topic == self._lockstep.anchor

    def _send(self, message: BagMessage) -> None:
        if self._is_anchor(message):
            stamp = self._bag.stamp_ns(message)
            if stamp is None:
                raise BagError(f"topic {message.topic} has no header stamp to wait for")
            self._lockstep.sent(stamp)
        self.position_ns = max(message.time_ns, self.first_ns)
        if self.settings.clock_hz:
            self._clock(self.position_ns)
        self._publish(self.settings.remap.get(message.topic, message.topic), message.data)
        self.sent += 1

    def _wait_until(self, time_ns: int) -> None:
        """Return when a bag time is due; let the clock tick meanwhile."""
        while not self._stopped.is_set():
            if self.paused:
                self._stand_still("resume", lambda: not self.paused)
            now = self._time.monotonic()
            remaining = self._begin + (time_ns - self.first_ns) / 1e9 / self.settings.rate - now
            if remaining <= 0:
                return
            tick_in = self._tick(now, time_ns)
            self._time.sleep(min(remaining, tick_in, LONGEST_SLEEP_S))

    def _tick(self, now: float, limit_ns: int) -> float:
        """Let the clock tick if it is time; return the seconds until the next tick."""
        if not self.settings.clock_hz:
            return math.inf
        if now >= self._next_tick:
            passed = round((now - self._begin) * self.settings.rate * 1e9)
            self.position_ns = max(self.position_ns, min(self.first_ns + passed, limit_ns))
            self._clock(self.position_ns)
            self._next_tick = now + 1.0 / self.settings.clock_hz
        return self._next_tick - now

    def _wait_for_answers(self) -> None:
        if self._lockstep is None or not self._lockstep.due:
            return
        due, limit = self._lockstep.due, self._lockstep.timeout_s
        waited = self._stand_still("an answer", lambda: not self._lockstep.due, limit)
        if self._lockstep.due and not self._stopped.is_set():
            raise BagError(
                f"no answer to {self._lockstep.anchor} stamped {due[0] / 1e9:.6f} within "
                f"{waited:.1f} s: is the node running, and does it get all its topics?"
            )

    def _stand_still(
        self, waiting_for: str, over: Callable[[], bool], limit_s: float | None = None
    ) -> float:
        """Wait for something other than the time; return the wall seconds that took.

        The schedule is moved by as much, so that playing does not hurry afterwards.
        """
        started = self._time.monotonic()
        self.waiting_for = waiting_for
        waited = 0.0
        while not (over() or self._stopped.is_set() or (limit_s is not None and waited >= limit_s)):
            self._time.sleep(0.001 if limit_s is None else min(0.001, limit_s - waited))
            waited = self._time.monotonic() - started
        self.waiting_for = ""
        self._begin += waited
        self._next_tick += waited
        return waited
