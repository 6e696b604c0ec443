"""Cameras with calibration among the topics of a bag, by image topic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import COMPRESSED, TopicInfo, TopicKind

NOT_PICTURES = ("/compressedDepth", "/ground_truth/")
_FISHEYES = ("equidistant", "fisheye")


@dataclass(frozen=True)
class CalibratedTopic:
    """An image topic with calibration.

    Attributes:
        image: Image topic, with /compressed where it is compressed.
        info: Its CameraInfo topic.
        compressed: The images are CompressedImage.
        fx: P[0, 0], pixels.
        tx: P[0, 3], minus focal length times baseline, pixel metres.
        is_pinhole: Neither fisheye nor distorted as far as name and CameraInfo say.
    """

    image: str
    info: str
    compressed: bool
    fx: float
    tx: float
    is_pinhole: bool

    @property
    def is_calibrated(self) -> bool:
        """Whether there is a focal length at all: zeros mean "not calibrated" in ROS."""
        return math.isfinite(self.tx) and self.fx > 0


def info_topic(image: str) -> str:
    """CameraInfo topic that belongs to an image topic (image_transport's convention)."""
    return f"{image.removesuffix(COMPRESSED).rsplit('/', 1)[0]}/camera_info"


def is_picture(topic: TopicInfo) -> bool:
    """Whether a topic carries what a camera saw."""
    image = topic.kind in (TopicKind.IMAGE, TopicKind.COMPRESSED_IMAGE)
    return image and not any(part in topic.name for part in NOT_PICTURES)


def calibrated_topics(bag: BagReader) -> list[CalibratedTopic]:
    """One entry per camera_info: rectified before raw, uncompressed before compressed."""
    best: dict[str, TopicInfo] = {}
    for topic in bag.topics.values():
        info = bag.topics.get(info_topic(topic.name))
        if not is_picture(topic) or info is None or info.kind is not TopicKind.CAMERA_INFO:
            continue
        rival = best.get(info.name)
        if rival is None or _preference(topic) > _preference(rival):
            best[info.name] = topic
    return [_calibrated(bag, topic, info) for info, topic in best.items()]


def _preference(topic: TopicInfo) -> tuple[bool, bool]:
    return ("rect" in topic.name, topic.kind is TopicKind.IMAGE)


def _calibrated(bag: BagReader, topic: TopicInfo, info: str) -> CalibratedTopic:
    """With the numbers of the first CameraInfo; zeros without any."""
    is_compressed = topic.kind is TopicKind.COMPRESSED_IMAGE
    first = next(bag.messages([info]), None)
    if first is None:
        return CalibratedTopic(topic.name, info, is_compressed, 0.0, 0.0, False)
    message = bag.decode(first)
    is_rectified = "rect" in topic.name or not any(message.d)
    is_pinhole = is_rectified and message.distortion_model not in _FISHEYES
    fx, tx = float(message.p[0]), float(message.p[3])
    return CalibratedTopic(topic.name, info, is_compressed, fx, tx, is_pinhole)
