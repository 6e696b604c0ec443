"""Write a bag in a thread of its own, so that whoever receives messages only enqueues them."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from threading import Condition, Thread
from typing import NamedTuple

from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError

MEMORY_BYTES = 1 << 30  # images wait here when the disk is slower than the cameras
MOST_EARLY = 1000  # then there will be no stamp: a recording of unstamped topics only


class Received(NamedTuple):
    """A message as it came in.

    Attributes:
        topic: Topic name.
        received_ns: Wall time of its arrival in nanoseconds.
        data: CDR bytes.
    """

    topic: str
    received_ns: int
    data: bytes


@dataclass(frozen=True)
class RecordedTopic:
    """A topic to be recorded.

    Attributes:
        name: Topic name.
        msgtype: "package/msg/Name".
        qos: What its publishers offer.
    """

    name: str
    msgtype: str
    qos: TopicQos


class StampTimes:
    """Gives messages their place in a bag that is ordered by header stamps.

    A replay then brings an answer back at the time of the image it answers, however long the
    computer took. Messages without a stamp (or with stamp zero), and latched ones, which are
    valid until they are replaced whenever they were stamped, take the newest stamp so far; those
    before the first stamp wait for it. Without any stamp the time of arrival counts.
    """

    def __init__(self) -> None:
        self._newest: int | None = None
        self._early: list[Received] = []

    def place(self, message: Received, stamp_ns: int | None) -> list[tuple[int, Received]]:
        """Times in nanoseconds for this message and those that waited for it.

        Args:
            message: What came in.
            stamp_ns: Its header stamp; None or 0 if it has none that counts.
        """
        if not stamp_ns and self._newest is None:
            self._early.append(message)
            return self.rest() if len(self._early) >= MOST_EARLY else []
        if not stamp_ns:
            return [(self._newest, message)]
        early, self._early = self._early, []
        self._newest = max(stamp_ns, self._newest or 0)
        return [*((stamp_ns, m) for m in early), (stamp_ns, message)]

    def rest(self) -> list[tuple[int, Received]]:
        """Messages for which no stamp ever came, at the time of their arrival."""
        early, self._early = self._early, []
        return [(message.received_ns, message) for message in early]


class BackgroundWriter:
    """A bag that is written by a thread; `put` never waits for the disk."""

    def __init__(
        self, bag: BagWriter, *, by_stamp: bool = True, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        """Take over a bag; call `start` to open it.

        Args:
            bag: The bag; nobody else may use it.
            by_stamp: Order by header stamps (see StampTimes); else by arrival.
            memory_bytes: Bytes that may wait for the disk; what comes then is lost and counted.
        """
        self.bag = bag
        self.lost: Counter[str] = Counter()
        self.error: BagError | None = None
        self._by_stamp = by_stamp
        self._times = StampTimes()
        self._memory_bytes = memory_bytes
        self._topics: dict[str, RecordedTopic] = {}
        self._queue: deque[RecordedTopic | Received] = deque()
        self._waiting_bytes = 0
        self._closing = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="bag writer", daemon=True)

    def start(self) -> None:
        """Open the bag and begin to write.

        Raises:
            BagError: The bag cannot be made.
        """
        self.bag.__enter__()
        self._thread.start()

    def add_topic(self, topic: RecordedTopic) -> None:
        """Announce a topic before its first message."""
        with self._changed:
            self._queue.append(topic)
            self._changed.notify()

    def put(self, message: Received) -> bool:
        """Enqueue a message; False if it was lost, because the disk is too slow or has failed."""
        with self._changed:
            full = self._waiting_bytes + len(message.data) > self._memory_bytes
            if full or self.error is not None or self._closing:
                self.lost[message.topic] += 1
                return False
            self._queue.append(message)
            self._waiting_bytes += len(message.data)
            self._changed.notify()
            return True

    def close(self) -> dict[str, int]:
        """Write what is waiting, finish the bag, and return the number of messages by topic.

        Raises:
            BagError: The bag could not be written; nothing is left under its name.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if self.error is not None:
            raise self.error
        return dict(self.bag.counts)

    def _run(self) -> None:
        try:
            while (entry := self._next()) is not None:
                self._write(entry)
            self._write_at(self._times.rest())
            self.bag.close()
        except BagError as error:  # told to whoever puts and closes
            self.bag.abort()
            self.error = error

    def _next(self) -> RecordedTopic | Received | None:
        """Next entry of the queue; None when it is empty and will stay so."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            return self._queue.popleft() if self._queue else None

    def _write(self, entry: RecordedTopic | Received) -> None:
        if isinstance(entry, RecordedTopic):
            self._topics[entry.name] = entry
            self.bag.add_topic(entry.name, entry.msgtype, qos=entry.qos)
            return
        topic = self._topics[entry.topic]
        stamp = None
        if self._by_stamp and not topic.qos.latched:
            stamp = self.bag.types.stamp_ns(topic.msgtype, entry.data)
        placed = self._times.place(entry, stamp) if self._by_stamp else None
        self._write_at([(entry.received_ns, entry)] if placed is None else placed)
        with self._changed:
            self._waiting_bytes -= len(entry.data)

    def _write_at(self, placed: list[tuple[int, Received]]) -> None:
        for time_ns, message in placed:
            self.bag.write(message.topic, time_ns, message.data)
