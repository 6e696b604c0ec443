"""Watch a node's ~/latency from another process: how many images were answered so far."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from threading import Event
from types import TracebackType
from typing import Any, Self

from rclpy.node import Node

from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.topics import TopicQos
from occ_perception.ros.messages import stamp_ns
from occ_perception.ros.raw_topics import message_class, ros, spinning, to_profile

LATENCY_TYPE = "occ_msgs/msg/FrameLatency"
PUBLISHED = "published"


class AnswerWatch:
    """Counts the answers on a FrameLatency topic, as a context manager.

    Attributes:
        topic: What is watched.
        stamps: Stamps of the images that were answered, published or dropped.
        published: How many of them became a grid.
        dropped: How many did not, by reason.
    """

    def __init__(self, topic: str) -> None:
        """Watch nothing yet."""
        self.topic = topic
        self.stamps: set[int] = set()
        self.published = 0
        self.dropped: Counter[str] = Counter()
        self._news = time.monotonic()
        self._types = MessageTypes()
        self._node: Node | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Subscribe; callbacks run in a thread."""
        with ExitStack() as stack:
            stack.enter_context(ros([]))
            self._node = node = Node("occ_watch")
            stack.callback(node.destroy_node)
            qos = to_profile(TopicQos(reliable=True, depth=100))
            kind = message_class(LATENCY_TYPE)
            node.create_subscription(kind, self.topic, self._on_answer, qos, raw=True)
            stack.enter_context(spinning(node))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def is_connected(self, listeners: int) -> bool:
        """Whether somebody answers, and so many listen to it, this watch among them."""
        if self._node is None:
            return False
        is_published = self._node.count_publishers(self.topic) > 0
        return is_published and self._node.count_subscribers(self.topic) >= listeners

    def ask(self, kind: Any, service: str, timeout_s: float = 60.0, **fields: Any) -> Any:
        """Call a service; None if nobody answers in time.

        Args:
            kind: Class of the service.
            service: Its name.
            timeout_s: How long to wait, seconds.
            fields: Of the request.
        """
        if self._node is None:
            return None
        client = self._node.create_client(kind, service)
        try:
            if not client.wait_for_service(timeout_s):
                return None
            done = Event()
            future = client.call_async(kind.Request(**fields))
            future.add_done_callback(lambda _: done.set())
            return future.result() if done.wait(timeout_s) else None
        finally:
            self._node.destroy_client(client)

    @property
    def silence_s(self) -> float:
        """Seconds since the last answer, or since the start."""
        return time.monotonic() - self._news

    def _on_answer(self, data: bytes) -> None:
        report = self._types.decode(LATENCY_TYPE, data)
        self.stamps.add(stamp_ns(report.header.stamp))
        if report.outcome == PUBLISHED:
            self.published += 1
        else:
            self.dropped[report.reason] += 1
        self._news = time.monotonic()
