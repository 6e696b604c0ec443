"""Play a bag into ROS: publishers by the bag's types and QoS, /clock, lockstep, progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from threading import Event

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool

from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.player import BagPlayer, Lockstep, PlayerSettings
from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.bags.topics import TopicInfo, TopicKind, TopicQos, default_qos, select
from occ_perception.core.errors import BagError
from occ_perception.ros.playback_options import PlaybackOptions
from occ_perception.ros.raw_topics import (
    message_class,
    ros,
    spinning,
    stopped_by_signals,
    to_profile,
)

PATIENCE_S = 10.0  # default wait for subscribers
LAST_MESSAGES_S = 5.0
SETTLE_S = 0.5  # subscriptions of one node are discovered within this time of each other
LATENCY_TYPE = "occ_msgs/msg/FrameLatency"
IMAGES = (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE)
CLOCK_QOS = TopicQos(reliable=True, latched=False, depth=10)


class Playback:
    """A bag on its way into ROS.

    Attributes:
        player: What decides when to publish.
    """

    def __init__(
        self, options: PlaybackOptions, bag: BagReader, node: Node, say: Callable[[str], None]
    ) -> None:
        """Make publishers, service and lockstep.

        Args:
            options: What was asked for.
            bag: Open bag.
            node: Node that publishes.
            say: Tells the user one line.

        Raises:
            BagError: A topic is missing, no topic can be published, or the lockstep has no anchor.
        """
        self.options, self.bag, self.node, self.say = options, bag, node, say
        self.stopped = Event()
        settings = self.options.settings(self._playable())
        self.publishers = {
            settings.remap.get(topic, topic): self._publisher(self.bag.topics[topic], settings)
            for topic in settings.topics
        }
        self._clock = self.node.create_publisher(Clock, "/clock", to_profile(CLOCK_QOS))
        self.lockstep = self._lockstep()
        self.player = BagPlayer(
            self.bag, settings, publish=self._publish, clock=self._tick, lockstep=self.lockstep
        )
        self.images = [
            settings.remap.get(name, name)
            for name in settings.topics
            if self.bag.topics[name].kind in IMAGES
        ]
        self.node.create_service(SetBool, "~/pause", self._on_pause)

    def _playable(self) -> tuple[str, ...]:
        """Topics whose types exist here in the same version; the others are named and left out."""
        types, playable = MessageTypes(), []
        for topic in select(self.bag.topics, self.options.topics, self.bag.path):
            if topic == "/clock" and self.options.clock:
                self.say("/clock of the bag is left out, the player makes its own")
            elif reason := self._unusable(types, self.bag.topics[topic]):
                self.say(f"{topic} is left out: {reason}")
            else:
                playable.append(topic)
        if not playable:
            raise BagError(f"bag {self.bag.path} has no topic that can be published here")
        return tuple(playable)

    def _unusable(self, types: MessageTypes, topic: TopicInfo) -> str:
        """Why the bytes of a topic must not be published as this machine's type."""
        try:
            message_class(topic.msgtype)
            here = types.description(topic.msgtype).type_hash
        except BagError as error:
            return str(error)
        same = here == self.bag.description(topic.name).type_hash
        return "" if same else f"the bag has another version of {topic.msgtype} than this machine"

    def _publisher(self, topic: TopicInfo, settings: PlayerSettings) -> Publisher:
        """Publisher with the offer of the bag; a latched one keeps every message of the topic."""
        qos = topic.qos or default_qos(topic.name)
        if qos.latched or topic.kind is TopicKind.TF_STATIC:
            qos = TopicQos(reliable=True, latched=True, depth=max(qos.depth, topic.count))
        return self.node.create_publisher(
            message_class(topic.msgtype),
            settings.remap.get(topic.name, topic.name),
            to_profile(qos),
        )

    def _lockstep(self) -> Lockstep | None:
        if self.options.wait_for is None:
            return None
        anchor = self.options.anchor or find_stereo(self.bag).left_image
        lockstep = Lockstep(anchor, self.options.answer_timeout)
        types = MessageTypes()

        def on_answer(data: bytes) -> None:
            lockstep.answered(types.stamp_ns(LATENCY_TYPE, data))

        self.node.create_subscription(
            message_class(LATENCY_TYPE),
            self.options.wait_for,
            on_answer,
            to_profile(TopicQos(reliable=True, depth=100)),
            raw=True,
        )
        return lockstep

    def _publish(self, topic: str, data: bytes) -> None:
        publisher = self.publishers[topic]
        publisher.publish(data)
        if math.isinf(self.options.rate):  # the readers set the pace
            publisher.wait_for_all_acked(Duration(seconds=1.0))

    def _tick(self, time_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(time_ns, 10**9)
        self._clock.publish(message)

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data:
            self.player.pause()
        else:
            self.player.resume()
        response.success = True
        return response

    def stop(self) -> None:
        """End soon; may come from a signal handler."""
        self.stopped.set()
        self.player.stop()

    def wait_for_subscribers(self) -> None:
        """Wait until somebody listens to the images (and answers, in lockstep), then settle."""
        limit = self.options.subscriber_timeout
        if limit is None:
            limit = PATIENCE_S if self.lockstep is None else math.inf
        deadline, count, settled = time.monotonic() + limit, 0, math.inf
        while (now := time.monotonic()) < min(deadline, settled) and not self.stopped.is_set():
            self.player.waiting_for = self._missing_partner()
            partners = sum(p.get_subscription_count() for p in self.publishers.values())
            if self.player.waiting_for:
                settled = math.inf
            elif partners != count or math.isinf(settled):
                settled = now + SETTLE_S
            count = partners
            self.stopped.wait(0.02)
        if self.player.waiting_for and not self.stopped.is_set():
            self.say(f"playing although still waiting for {self.player.waiting_for}")
        self.player.waiting_for = ""

    def _missing_partner(self) -> str:
        """Who must be there before the first message and is not."""
        images = self.images
        if self.lockstep is not None:
            anchor = self.lockstep.anchor
            images = [self.player.settings.remap.get(anchor, anchor)]
            if not self.node.count_publishers(self.node.resolve_topic_name(self.options.wait_for)):
                return f"a publisher of {self.options.wait_for}"
        if images and not any(self.publishers[t].get_subscription_count() for t in images):
            return f"a subscriber of {', '.join(images)}"
        return ""

    def run(self) -> int:
        """Play to the end; return the number of messages sent."""
        self.wait_for_subscribers()
        sent = self.player.run()
        deadline = time.monotonic() + LAST_MESSAGES_S
        while self._on_the_way() and time.monotonic() < deadline and not self.stopped.is_set():
            self.stopped.wait(0.02)
        return sent

    def _on_the_way(self) -> bool:
        """Are there messages that a reliable subscriber has not acknowledged?"""
        now = Duration(seconds=0.0)
        return not all(p.wait_for_all_acked(now) for p in self.publishers.values())


def progress(player: BagPlayer, name: str) -> Group:
    """Bar, position and rate; below it what is waited for, if anything."""
    total = (player.last_ns - player.first_ns) / 1e9
    done = (player.position_ns - player.first_ns) / 1e9
    line = Table.grid(padding=(0, 2))
    line.add_row(
        name,
        ProgressBar(total=max(total, 1e-9), completed=done, width=30),
        f"{done:.1f} / {total:.1f} s",
        f"x {player.settings.rate:g}",
        "paused" if player.paused else "",
    )
    waiting = [f"waiting for {player.waiting_for}"] if player.waiting_for else []
    return Group(line, *([] if player.paused else waiting))


def play(options: PlaybackOptions, ros_arguments: list[str]) -> None:
    """Play a bag as a process does: until its end or a signal.

    Args:
        options: What to play, and how.
        ros_arguments: Command line with --ros-args.

    Raises:
        OccError: The bag, a topic or an option cannot be used, or an answer did not come.
    """
    console = Console(stderr=True)
    with BagReader(options.bag) as bag, ros(ros_arguments):
        node = Node("bag_player")
        try:
            playback = Playback(options, bag, node, console.print)
            view = Live(
                get_renderable=lambda: progress(playback.player, bag.path.name),
                console=console,
                refresh_per_second=8,
            )
            with stopped_by_signals(playback.stop), spinning(node), view:
                sent = playback.run()
            console.print(f"{sent} messages of {bag.path.name} published")
        finally:
            node.destroy_node()
