"""What the topics of a bag are: kind, quality of service, and the stereo pair among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from occ_perception.core.errors import BagError

if TYPE_CHECKING:
    from occ_perception.bags.reader import BagReader

COMPRESSED = "/compressed"
NOT_PICTURES = ("/compressedDepth", "/ground_truth/")
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


@dataclass(frozen=True)
class StereoTopics:
    """Topics of a stereo pair.

    Attributes:
        left_image: Image topic of the left camera, with /compressed where it is compressed.
        right_image: The same of the right camera.
        left_info: CameraInfo topic of the left camera.
        right_info: The same of the right camera.
        compressed: The images are CompressedImage.
    """

    left_image: str
    right_image: str
    left_info: str
    right_info: str
    compressed: bool


@dataclass(frozen=True)
class _Camera:
    """An image topic with calibration; `tx` is P[0, 3], minus focal length times baseline."""

    image: str
    info: str
    compressed: bool
    tx: float


def find_stereo(bag: BagReader) -> StereoTopics:
    """Find the one calibrated stereo pair of a bag, by name and by P of camera_info.

    Args:
        bag: Open bag.

    Raises:
        BagError: No pair, several, or names that contradict P; the text lists the candidates.
    """
    cameras = _cameras(bag)
    pairs = _pairs_by_name(cameras) or _pairs_by_baseline(cameras)
    if len(pairs) != 1:
        found = "no stereo pair" if not pairs else f"{len(pairs)} stereo pairs"
        images = [t.name for t in bag.topics.values() if _is_picture(t)]
        raise BagError(
            f"bag {bag.path} has {found}: name the left and right image topic yourself. "
            f"Image topics: {', '.join(images) or 'none'}; "
            f"with camera_info: {', '.join(c.image for c in cameras) or 'none'}"
        )
    left, right = pairs[0]
    if left.tx < right.tx:
        raise BagError(
            f"bag {bag.path}: by P of camera_info {left.image} is the right camera and "
            f"{right.image} the left one; swap the topics or mend the calibration"
        )
    return StereoTopics(left.image, right.image, left.info, right.info, left.compressed)


def info_topic(image: str) -> str:
    """CameraInfo topic that belongs to an image topic (image_transport's convention)."""
    return f"{image.removesuffix(COMPRESSED).rsplit('/', 1)[0]}/camera_info"


def _is_picture(topic: TopicInfo) -> bool:
    image = topic.kind in (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE)
    return image and not any(part in topic.name for part in NOT_PICTURES)


def _cameras(bag: BagReader) -> list[_Camera]:
    """One entry per camera_info: rectified before raw, uncompressed before compressed."""
    best: dict[str, TopicInfo] = {}
    for topic in bag.topics.values():
        info = bag.topics.get(info_topic(topic.name))
        if not _is_picture(topic) or info is None or info.kind is not TopicKind.CAMERA_INFO:
            continue
        rival = best.get(info.name)
        if rival is None or _preference(topic) > _preference(rival):
            best[info.name] = topic
    return [
        _Camera(topic.name, info, topic.kind is TopicKind.COMPRESSED_IMAGE, _tx(bag, info))
        for info, topic in best.items()
    ]


def _preference(topic: TopicInfo) -> tuple[bool, bool]:
    return ("rect" in topic.name, topic.kind is TopicKind.IMAGE)


def _tx(bag: BagReader, info: str) -> float:
    """P[0, 3] of the first message, in pixel metres; zero without any message."""
    first = next(bag.messages([info]), None)
    return float(bag.decode(first).p[3]) if first else 0.0


def _pairs_by_name(cameras: Sequence[_Camera]) -> list[tuple[_Camera, _Camera]]:
    """Names that differ in left and right only; equal Tx means cameras that look apart."""
    by_name = {camera.image: camera for camera in cameras}
    names = ((c, by_name.get(c.image.replace("left", "right"))) for c in cameras)
    return [(left, right) for left, right in names if right is not None and right.tx != left.tx]


def _pairs_by_baseline(cameras: Sequence[_Camera]) -> list[tuple[_Camera, _Camera]]:
    """Two cameras with different Tx are a pair; the left one has the larger (P is relative)."""
    if len(cameras) != 2 or cameras[0].tx == cameras[1].tx:
        return []
    right, left = sorted(cameras, key=lambda camera: camera.tx)
    return [(left, right)]
