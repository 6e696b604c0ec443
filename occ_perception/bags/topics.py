"""What the topics of a bag are: kind and quality of service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from occ_perception.core.errors import BagError

COMPRESSED = "/compressed"
UNLIMITED = QosTime(sec=9223372036, nsec=854775807)
DEFAULT_DEPTH = 10


class TopicKind(StrEnum):
    """What a topic carries."""

    IMAGE = "image"
    COMPRESSED_IMAGE = "compressed image"
    CAMERA_INFO = "camera info"
    TF = "transforms"
    TF_STATIC = "static transforms"
    VOXELS = "voxels"
    POINTS = "points"
    OTHER = "other"


KINDS = {
    "sensor_msgs/msg/Image": TopicKind.IMAGE,
    "sensor_msgs/msg/CompressedImage": TopicKind.COMPRESSED_IMAGE,
    "sensor_msgs/msg/CameraInfo": TopicKind.CAMERA_INFO,
    "sensor_msgs/msg/PointCloud2": TopicKind.POINTS,
    "occ_msgs/msg/VoxelGrid": TopicKind.VOXELS,
    "tf2_msgs/msg/TFMessage": TopicKind.TF,
}


def kind_of(topic: str, msgtype: str) -> TopicKind:
    """Kind of a topic, by its type and, for transforms, by its name."""
    kind = KINDS.get(msgtype, TopicKind.OTHER)
    return TopicKind.TF_STATIC if kind is TopicKind.TF and topic.endswith("/tf_static") else kind


@dataclass(frozen=True)
class TopicQos:
    """Quality of service of a publisher, as far as it decides who hears what.

    Attributes:
        reliable: Lost messages are sent again; else best effort.
        latched: Late subscribers get the last `depth` messages (transient local).
        depth: Messages that the publisher keeps.
    """

    reliable: bool = True
    latched: bool = False
    depth: int = DEFAULT_DEPTH


def default_qos(topic: str) -> TopicQos:
    """Quality of service where a bag says nothing: reliable, because it serves every reader."""
    latched = topic.endswith("/tf_static")
    return TopicQos(latched=latched, depth=1 if latched else DEFAULT_DEPTH)


def combined(offers: Sequence[TopicQos]) -> TopicQos | None:
    """One offer that serves every reader of all the offers; None where there are none."""
    if not offers:
        return None
    return TopicQos(
        reliable=any(o.reliable for o in offers),
        latched=any(o.latched for o in offers),
        depth=max(o.depth for o in offers),
    )


def from_rosbags(qos: Qos) -> TopicQos:
    """Read what a bag recorded; an unknown history gets the default depth."""
    counted = qos.history == QosHistory.KEEP_LAST and qos.depth > 0
    return TopicQos(
        reliable=qos.reliability != QosReliability.BEST_EFFORT,
        latched=qos.durability == QosDurability.TRANSIENT_LOCAL,
        depth=qos.depth if counted else DEFAULT_DEPTH,
    )


def to_rosbags(qos: TopicQos) -> Qos:
    """Form in which bags record it."""
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=qos.depth,
        reliability=QosReliability.RELIABLE if qos.reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if qos.latched else QosDurability.VOLATILE,
        deadline=UNLIMITED,
        lifespan=UNLIMITED,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=UNLIMITED,
        avoid_ros_namespace_conventions=False,
    )


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a bag.

    Attributes:
        name: Topic name.
        msgtype: "package/msg/Name".
        count: Number of messages.
        qos: What its publishers offered, joined; None if the bag does not say.
    """

    name: str
    msgtype: str
    count: int
    qos: TopicQos | None = None

    @property
    def kind(self) -> TopicKind:
        """What the topic carries."""
        return kind_of(self.name, self.msgtype)


def select(available: Iterable[str], wanted: Iterable[str], where: object) -> list[str]:
    """Topics that are wanted, all if none is named.

    Raises:
        BagError: One of them is not there; the text lists what is.
    """
    available = list(available)
    missing = [topic for topic in wanted if topic not in available]
    if missing:
        raise BagError(
            f"bag {where} has no topic {', '.join(missing)}; "
            f"it has {', '.join(available) or 'none'}"
        )
    return list(wanted) or available
