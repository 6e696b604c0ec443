"""The calibrated stereo pair among the topics of a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from occ_perception.bags.calibrated import CalibratedTopic, calibrated_topics, is_picture
from occ_perception.bags.reader import BagReader
from occ_perception.core.errors import BagError, UnclearCamerasError

_Pair = tuple[CalibratedTopic, CalibratedTopic]


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


def find_stereo(bag: BagReader) -> StereoTopics:
    """Find the one calibrated stereo pair of a bag, by name and by P of camera_info.

    Args:
        bag: Open bag.

    Raises:
        UnclearCamerasError: No pair, or several; the text lists the candidates.
        BagError: Cameras without calibration, or names that contradict P.
    """
    cameras = calibrated_topics(bag)
    pairs = _pairs_by_name(cameras) or _pairs_by_baseline(cameras)
    bad = [camera.info for camera in cameras if not camera.is_calibrated]
    if len(pairs) != 1 and bad:
        raise BagError(
            f"bag {bag.path} has no calibrated stereo pair: P is zero or NaN in {', '.join(bad)}; "
            "calibrate the cameras and record the P of the rectified images"
        )
    if len(pairs) != 1:
        listed = ", ".join(f"{left.image} + {right.image}" for left, right in pairs)
        found = f"{len(pairs)} stereo pairs ({listed})" if pairs else "no stereo pair"
        images = [t.name for t in bag.topics.values() if is_picture(t)]
        raise UnclearCamerasError(
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


def _pairs_by_name(
    cameras: Sequence[CalibratedTopic],
) -> list[_Pair]:
    """Names that differ in left and right only; equal Tx means cameras that look apart."""
    by_name = {camera.image: camera for camera in cameras}
    names = ((c, by_name.get(c.image.replace("left", "right"))) for c in cameras)
    return [
        (left, right)
        for left, right in names
        if right is not None and abs(right.tx - left.tx) > 0  # not with NaN
    ]


def _pairs_by_baseline(
    cameras: Sequence[CalibratedTopic],
) -> list[_Pair]:
    """Two cameras with different Tx are a pair; the left one has the larger (P is relative)."""
    if len(cameras) != 2 or not abs(cameras[0].tx - cameras[1].tx) > 0:
        return []
    right, left = sorted(cameras, key=lambda camera: camera.tx)
    return [(left, right)]
