"""The calibrated stereo pair among the topics of a bag."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import COMPRESSED, TopicInfo, TopicKind
from occ_perception.core.errors import BagError

NOT_PICTURES = ("/compressedDepth", "/ground_truth/")


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
    fx: float
    tx: float

    @property
    def is_calibrated(self) -> bool:
        return math.isfinite(self.tx) and self.fx > 0


def find_stereo(bag: BagReader) -> StereoTopics:
    """Find the one calibrated stereo pair of a bag, by name and by P of camera_info.

    Args:
        bag: Open bag.

    Raises:
        BagError: No pair, several, or names that contradict P; the text lists the candidates.
    """
    cameras = _cameras(bag)
    pairs = _pairs_by_name(cameras) or _pairs_by_baseline(cameras)
    bad = [camera.info for camera in cameras if not camera.is_calibrated]
    if len(pairs) != 1 and bad:
        raise BagError(
            f"bag {bag.path} has no calibrated stereo pair: P is zero or NaN in {', '.join(bad)}; "
            "calibrate the cameras and record the P of the rectified images"
        )
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
        _Camera(topic.name, info, topic.kind is TopicKind.COMPRESSED_IMAGE, *_fx_tx(bag, info))
        for info, topic in best.items()
    ]


def _preference(topic: TopicInfo) -> tuple[bool, bool]:
    return ("rect" in topic.name, topic.kind is TopicKind.IMAGE)


def _fx_tx(bag: BagReader, info: str) -> tuple[float, float]:
    """P[0, 0] and P[0, 3] of the first message, in pixels and pixel metres; zero without any."""
    first = next(bag.messages([info]), None)
    if first is None:
        return 0.0, 0.0
    P = bag.decode(first).p
    return float(P[0]), float(P[3])


def _pairs_by_name(cameras: Sequence[_Camera]) -> list[tuple[_Camera, _Camera]]:
    """Names that differ in left and right only; equal Tx means cameras that look apart."""
    by_name = {camera.image: camera for camera in cameras}
    names = ((c, by_name.get(c.image.replace("left", "right"))) for c in cameras)
    return [
        (left, right)
        for left, right in names
        if right is not None and abs(right.tx - left.tx) > 0  # not with NaN
    ]


def _pairs_by_baseline(cameras: Sequence[_Camera]) -> list[tuple[_Camera, _Camera]]:
    """Two cameras with different Tx are a pair; the left one has the larger (P is relative)."""
    if len(cameras) != 2 or not abs(cameras[0].tx - cameras[1].tx) > 0:
        return []
    right, left = sorted(cameras, key=lambda camera: camera.tx)
    return [(left, right)]
