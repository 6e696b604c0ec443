"""A node of the product in this process, fed from a bag over DDS, and a probe that listens.

One process for several systems: importing torch and ROS costs more than a tiny network.
"""

import dataclasses
import itertools
import os
import time

import rclpy
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message

from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import TopicKind
from occ_perception.ros.launch_arguments import LaunchArguments
from occ_perception.ros.launch_plan import plan
from occ_perception.ros.loading import loader_of
from occ_perception.ros.messages import stamp_ns
from occ_perception.ros.node import OccupancyNode
from occ_perception.ros.raw_topics import message_class
from occ_perception.ros.system_settings import SETTINGS

TIMEOUT_S = 600.0  # a busy machine
_DOMAINS = itertools.count(50)
_LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_MANY = QoSProfile(depth=100)


class Running:
    """An active node as the launch plan starts it for a bag, as a context manager."""

    def __init__(self, system, bag, *words, load=None, **arguments):
        self.bag, self.name = bag, f"{system}_node"
        chosen = LaunchArguments(bag=str(bag), device="cpu", **{"preset": "nano"} | arguments)
        spec = plan(system, chosen)[0]
        domain = (int(os.environ["ROS_DOMAIN_ID"]) + next(_DOMAINS)) % 102
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = OccupancyNode(
            self.name,
            load or loader_of(system),
            SETTINGS[system],
            context=self.context,
            use_global_arguments=False,
            cli_args=[*spec.arguments, *words],
        )
        self.probe = rclpy.create_node("probe", context=self.context, use_global_arguments=False)
        self.executor = SingleThreadedExecutor(context=self.context)
        for node in (self.node, self.probe):
            self.executor.add_node(node)
        self.received = {}
        self.publishers = {}

    def __enter__(self):
        assert self.node.start()
        return self

    def __exit__(self, *_):
        self.node.close()
        self.executor.shutdown()
        self.probe.destroy_node()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def listen(self, output, kind, latched=False):
        """Collect the messages of an output."""
        topic = f"/{self.name}/{output}"
        found = self.received[output] = []
        self.probe.create_subscription(kind, topic, found.append, _LATCHED if latched else _MANY)
        return found

    def spin_until(self, condition, what):
        deadline = time.monotonic() + TIMEOUT_S
        while not (answer := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.executor.spin_once(timeout_sec=0.05)
        return answer

    def spin_for(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)

    def play(self, *, leave_out=(), change=None, frames=None):
        """Publish the inputs of the bag, each set when the last one was answered.

        Args:
            leave_out: Parts of names of topics that are not played.
            change: Function of (topic, message) that may alter a message or return None.
            frames: Most anchor images.
        """
        reports = self.received["latency"]
        anchor = self.node._pipeline.inputs._sync._anchor
        anchor_topic = self.node._pipeline.inputs.arrivals[anchor].topic
        answered, sent = len(reports), 0
        with BagReader(self.bag) as bag:
            wanted = [t for t in bag.topics.values() if self._is_input(t, leave_out)]
            for topic in wanted:
                self._advertise(topic)
            self.spin_until(lambda: self._are_heard(wanted), "the node's subscriptions")
            self.spin_until(self._is_listened_to, "its outputs to be connected")
            self.spin_for(0.3)
            for message in bag.messages([topic.name for topic in wanted]):
                if message.topic == anchor_topic:
                    if sent == frames:
                        break
                    self.spin_until(lambda: len(reports) >= answered + sent, "an answer")  # noqa: B023
                    sent += 1
                self._publish(message, change)
                self.executor.spin_once(timeout_sec=0.01)
        self.spin_until(lambda: len(reports) >= answered + sent, "the last answer")
        self.spin_for(0.3)

    def _is_input(self, topic, leave_out):
        kinds = (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE, TopicKind.CAMERA_INFO, TopicKind.TF,
                 TopicKind.TF_STATIC)  # fmt: skip
        is_truth = "/ground_truth/" in topic.name
        return topic.kind in kinds and not is_truth and not any(p in topic.name for p in leave_out)

    def _advertise(self, topic):
        if topic.name not in self.publishers:
            latched = topic.kind is TopicKind.TF_STATIC
            kind = message_class(topic.msgtype)
            qos = _LATCHED if latched else _MANY
            self.publishers[topic.name] = self.probe.create_publisher(kind, topic.name, qos)

    def _are_heard(self, topics):
        heard = {a.topic for a in self.node._pipeline.inputs.arrivals.values()}
        names = [t.name for t in topics if t.name in heard or t.name.startswith("/tf")]
        return all(self.publishers[name].get_subscription_count() for name in names)

    def _is_listened_to(self):
        """Whether the node knows of everybody who listens: what nobody wants is not made."""
        listeners = {p.topic_name: p.get_subscription_count() for p in self.node.publishers}
        return all(listeners.get(f"/{self.name}/{output}", 1) for output in self.received)

    def _publish(self, message, change):
        publisher = self.publishers[message.topic]
        if change is None:
            publisher.publish(bytes(message.data))
            return
        decoded = deserialize_message(bytes(message.data), publisher.msg_type)
        if (altered := change(message.topic, decoded)) is not None:
            publisher.publish(altered)

    def send_odometry(self, time_ns, x_m):
        """A pose on the topic `odometry`."""
        if "odometry" not in self.publishers:
            self.publishers["odometry"] = self.probe.create_publisher(Odometry, "/odometry", _MANY)
            heard = self.publishers["odometry"].get_subscription_count
            self.spin_until(heard, "somebody who wants odometry")
        message = Odometry(child_frame_id="base_link")
        message.header.frame_id = "odom"
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 10**9)
        message.pose.pose.position.x = float(x_m)
        message.pose.pose.orientation.w = 1.0
        self.publishers["odometry"].publish(message)

    def call(self, kind, service, **fields):
        """Answer of a service of the node."""
        client = self.probe.create_client(kind, f"/{self.name}/{service}")
        self.spin_until(client.service_is_ready, service)
        self.spin_for(0.5)
        future = client.call_async(kind.Request(**fields))
        self.spin_until(future.done, f"an answer of {service}")
        return future.result()

    def outcomes(self):
        """What became of each anchor image: "published", or why not."""
        return [m.reason or m.outcome for m in self.received["latency"]]

    def stamps(self, output):
        """Stamps of an output's messages."""
        return [stamp_ns(m.header.stamp) for m in self.received[output]]


@dataclasses.dataclass
class Scene:
    """A tiny drive of the procedural world as a bag."""

    rig: str
    frames: int

    def write(self, folder):
        from occ_training.convert.content import Options
        from occ_training.convert.runner import convert_scene
        from occ_training.convert.world_bag import WorldScene
        from occ_training.world.config import WorldConfig

        cameras = ("image_00",) if self.rig == "kitti360" else None
        config = WorldConfig(rig=self.rig, preset="tiny", frames=self.frames, movers=False)
        scene = WorldScene(config, cameras=cameras)
        assert convert_scene(scene, folder, Options()).problems == []
        return folder / scene.name
