"""Subscriptions of a node: images into the synchroniser, calibrations and transforms into the rig.

Callbacks only store; decoding happens in the prepare worker.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from occ_perception.ros import odometry, tf_rig
from occ_perception.ros.messages import stamp_ns
from occ_perception.ros.odometry import Motion
from occ_perception.ros.settings import CameraSettings
from occ_perception.ros.topics import image_input, info_input
from occ_perception.ros.wall_timer import wall_timer
from occ_perception.sync.synchronizer import Outcome, Synchronizer
from occ_perception.sync.transforms_buffer import TransformBuffer

_POLL_PERIOD_S = 0.25
_RATE_WINDOW = 30
_ODOMETRY = QoSProfile(
    depth=100,  # it comes often, and none may be missing around an image
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)


@dataclass(eq=False)
class Arrivals:
    """When images of one topic arrived, wall clock in seconds."""

    topic: str
    times_s: deque[float] = field(default_factory=lambda: deque(maxlen=_RATE_WINDOW))

    def rate_hz(self) -> float:
        """Mean rate over the last images; 0 with fewer than two."""
        if len(self.times_s) < 2:
            return 0.0
        return (len(self.times_s) - 1) / max(1e-9, self.times_s[-1] - self.times_s[0])

    def age_s(self) -> float | None:
        """Time since the newest image, None before the first."""
        return time.monotonic() - self.times_s[-1] if self.times_s else None


class Inputs:
    """Listens while the node is active."""

    def __init__(
        self,
        node: Any,
        roles: tuple[str, ...],
        anchor: str,
        settings: CameraSettings,
        rig: tf_rig.CameraRig,
        buffer: TransformBuffer,
        motion: Motion,
        receive: Callable[[str, Any], Any],
        on_outcome: Callable[[Outcome[Any]], None],
    ) -> None:
        """Subscribe.

        Args:
            node: rclpy node.
            roles: Cameras.
            anchor: The one whose images define the sets.
            settings: Skew, depth, compressed or not.
            rig: Takes the calibrations.
            buffer: Takes the transforms.
            motion: Takes the odometry, if it wants some.
            receive: Turns role and image message into what is kept of the image until its set is
                complete.
            on_outcome: Takes what the synchroniser brings about, in the executor's thread.
        """
        self._node = node
        self._rig = rig
        self._buffer = buffer
        self._receive = receive
        self._on_outcome = on_outcome
        self._warned: set[str] = set()
        self._sync: Synchronizer[Any] = Synchronizer(
            roles,
            anchor,
            settings.max_skew_s,
            depth=settings.queue_depth,
            min_period_s=settings.min_period_s,
            patience_s=settings.patience_s,
        )
        self.arrivals: dict[str, Arrivals] = {}
        self._subscriptions = [s for role in roles for s in self._subscribe_camera(role, settings)]
        self._subscriptions += self._subscribe_transforms()
        if motion.uses_odometry:
            self._subscriptions += [
                node.create_subscription(Odometry, odometry.TOPIC, motion.take, _ODOMETRY)
            ]
        self._timer = wall_timer(node, _POLL_PERIOD_S, lambda: on_outcome(self._sync.poll()))

    def stop(self) -> Outcome[Any]:
        """Unsubscribe; return what was still waiting as drops."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        return self._sync.reset("shutdown")

    def reset(self) -> Outcome[Any]:
        """Forget waiting images."""
        return self._sync.reset()

    def _subscribe_camera(self, role: str, settings: CameraSettings) -> list[Any]:
        topic = self._node.resolve_topic_name(image_input(role))
        message = Image
        if settings.compressed:  # image_transport's rule: below the remapped name
            topic, message = f"{topic}/compressed", CompressedImage
        self.arrivals[role] = Arrivals(topic)
        images = QoSProfile(
            depth=settings.queue_depth,
            reliability=ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.VOLATILE,
        )
        create = self._node.create_subscription
        return [
            create(message, topic, lambda image: self._on_image(role, image), images),
            create(
                CameraInfo,
                info_input(role),
                lambda info: self._on_info(role, info),
                qos_profile_sensor_data,
            ),
        ]

    def _subscribe_transforms(self) -> list[Any]:
        timed = QoSProfile(depth=100)
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        create = self._node.create_subscription
        return [
            create(TFMessage, "/tf", lambda m: self._on_transforms(m, False), timed),
            create(TFMessage, "/tf_static", lambda m: self._on_transforms(m, True), latched),
        ]

    def _on_image(self, role: str, image: Any) -> None:
        self.arrivals[role].times_s.append(time.monotonic())
        payload = self._receive(role, image)
        self._on_outcome(self._sync.add(role, stamp_ns(image.header.stamp), payload))

    def _on_info(self, role: str, info: Any) -> None:
        self._rig.set_info(role, info)
        self._warn_once(tf_rig.distortion_warning(role, self.arrivals[role].topic, info))

    def _on_transforms(self, message: Any, is_static: bool) -> None:
        for sentence in tf_rig.feed(self._buffer, message, is_static=is_static):
            self._warn_once(sentence)

    def _warn_once(self, sentence: str) -> None:
        if sentence and sentence not in self._warned:
            self._warned.add(sentence)
            self._node.get_logger().warning(sentence)
