"""Record topics into a bag: raw subscriptions that match the offers, a thread that writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Literal

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rich.console import Console
from tyro.conf import Positional

from occ_perception.bags.background import BackgroundWriter, Received, RecordedTopic
from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError
from occ_perception.ros.raw_topics import (
    from_profile,
    message_class,
    ros,
    spinning,
    stopped_by_signals,
    to_profile,
)

QUEUE_DEPTH = 100  # messages that may arrive while Python is busy
LOOK_EVERY_S = 0.05
SETTLE_S = 0.3  # a publisher learns of a subscription a little after the subscription of it
LONGEST_LINGER_S = 10.0


@dataclass(frozen=True)
class RecordingOptions:
    """Record ROS topics into a bag until a signal.

    Attributes:
        output: Bag folder to make; it appears when the recording ends.
        topics: Topics to record; each is subscribed as soon as somebody publishes it.
        time: Order of the bag: stamp = by header stamps, so that an answer lies at the time of
            its image; arrival = by the time of arrival.
        overwrite: Replace a bag that is there already.
        ready_file: File to make as soon as all topics are subscribed, for whoever starts this.
        until_quiet: End after so many seconds without a message, once one came; never by default.
        linger: After a signal, record until there was no message for so many seconds.
    """

    output: Positional[Path]
    topics: tuple[str, ...]
    time: Literal["stamp", "arrival"] = "stamp"
    overwrite: bool = False
    ready_file: Path | None = None
    until_quiet: float | None = None
    linger: float = 0.5


class Recorder:
    """Subscriptions of a node that feed a bag. `stop` may come from a signal handler.

    Attributes:
        topics: Topics subscribed so far, by name.
        lost: Messages that did not arrive complete, by topic, as far as the middleware knows.
    """

    def __init__(self, options: RecordingOptions, node: Node, writer: BackgroundWriter) -> None:
        """Subscribe to nothing yet.

        Args:
            options: What to record.
            node: Node that subscribes; somebody has to spin it.
            writer: Writer; it has to be started before `run`.
        """
        self.topics: dict[str, RecordedTopic] = {}
        self.lost: dict[str, int] = {}
        self._options, self._node, self._writer = options, node, writer
        self._wanted = [node.resolve_topic_name(topic) for topic in options.topics]
        self._last_arrival: float | None = None
        self._stopped, self._stopped_twice = Event(), Event()

    def stop(self) -> None:
        """End after lingering; a second call ends at once."""
        (self._stopped_twice if self._stopped.is_set() else self._stopped).set()

    @property
    def missing(self) -> list[str]:
        """Topics that nobody published so far."""
        return [topic for topic in self._wanted if topic not in self.topics]

    def run(self) -> None:
        """Record until `stop`, until it is quiet, or until the bag cannot be written.

        Raises:
            BagError: A topic's type is unusable or ambiguous.
        """
        ready_at = None
        while not (self._stopped.is_set() or self._writer.error or self._is_quiet()):
            self._look_for_publishers()
            if ready_at is None and not self.missing:
                ready_at = time.monotonic() + SETTLE_S
            if ready_at is not None and time.monotonic() >= ready_at:
                self._tell_ready()
            self._stopped.wait(LOOK_EVERY_S)
        self._linger()

    def _tell_ready(self) -> None:
        path = self._options.ready_file
        if path is not None and not path.exists():
            path.touch()

    def _is_quiet(self) -> bool:
        limit = self._options.until_quiet
        return limit is not None and self._silence() > limit

    def _silence(self) -> float:
        """Seconds since the last message; negative infinity before the first."""
        last = self._last_arrival
        return float("-inf") if last is None else time.monotonic() - last

    def _linger(self) -> None:
        """Take in what is still on its way."""
        begin = time.monotonic()
        while not self._stopped_twice.is_set() and not self._writer.error:
            now = time.monotonic()
            quiet_since = max(begin, self._last_arrival or begin)
            if now - quiet_since >= self._options.linger or now - begin > LONGEST_LINGER_S:
                return
            self._stopped_twice.wait(LOOK_EVERY_S)

    def _look_for_publishers(self) -> None:
        for name in self.missing:
            if publishers := self._node.get_publishers_info_by_topic(name):
                msgtypes = {publisher.topic_type for publisher in publishers}
                if len(msgtypes) > 1:
                    raise BagError(f"topic {name} is published with several types: {msgtypes}")
                self._subscribe(name, msgtypes.pop(), [p.qos_profile for p in publishers])

    def _subscribe(self, name: str, msgtype: str, profiles: list) -> None:
        """Ask for no more than every publisher offers: else nothing would arrive from it."""
        offers = [from_profile(profile, depth=1) for profile in profiles]
        reliable, latched = all(o.reliable for o in offers), all(o.latched for o in offers)
        offered = TopicQos(reliable, latched, depth=1 if latched else 10)
        self.topics[name] = RecordedTopic(name, msgtype, offered)
        self._writer.add_topic(self.topics[name])

        def on_message(data: bytes) -> None:
            self._last_arrival = time.monotonic()
            self._writer.put(Received(name, time.time_ns(), data))

        def on_lost(event: object) -> None:
            self.lost[name] = event.total_count

        self._node.create_subscription(
            message_class(msgtype),
            name,
            on_message,
            to_profile(TopicQos(reliable, latched, QUEUE_DEPTH)),
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=on_lost),
        )


def inventory(recorder: Recorder, counts: dict[str, int]) -> Iterator[str]:
    """Lines that say what is in the bag, and what is not."""
    for name, topic in recorder.topics.items():
        lost = recorder.lost.get(name, 0)
        note = f", {lost} more were lost on the way" if lost else ""
        yield f"{counts.get(name, 0):8d}  {name} ({topic.msgtype}){note}"
    for name in recorder.missing:
        yield f"{0:8d}  {name}: nobody published it"


def record(options: RecordingOptions, ros_arguments: list[str]) -> None:
    """Record a bag as a process does: until a signal.

    Args:
        options: What to record, and where.
        ros_arguments: Command line with --ros-args.

    Raises:
        OccError: The bag cannot be written, a topic's type is unusable, or messages were lost
            because the disk is too slow.
    """
    console = Console()
    writer = BackgroundWriter(
        BagWriter(options.output, overwrite=options.overwrite), by_stamp=options.time == "stamp"
    )
    with ros(ros_arguments):
        node = Node("bag_recorder")
        recorder = Recorder(options, node, writer)
        with stopped_by_signals(recorder.stop):
            writer.start()
            try:
                with spinning(node):
                    recorder.run()
            finally:
                node.destroy_node()
                counts = writer.close()
    for line in [f"recorded into {options.output}:", *inventory(recorder, counts)]:
        console.print(line, soft_wrap=True, highlight=False)
    if writer.lost:
        raise BagError(f"the disk was too slow for {dict(writer.lost)}: these messages are lost")
