"""The cameras that a system wants, found among the topics of a bag by role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from occ_perception.bags.calibrated import (
    CalibratedTopic,
    calibrated_topics,
    info_topic,
    is_picture,
)
from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.bags.topics import COMPRESSED
from occ_perception.core.errors import BagError, ConfigError, UnclearCamerasError

STEREO = ("left", "right")
_BEHIND = {"back", "rear", "side"}  # where a single forward camera does not look


@dataclass(frozen=True)
class RigTopics:
    """Topics of a rig.

    Attributes:
        images: Image topic by role, with /compressed where the images are compressed.
        infos: CameraInfo topic by role.
    """

    images: Mapping[str, str]
    infos: Mapping[str, str]

    @property
    def compressed(self) -> bool:
        """The images are CompressedImage."""
        return next(iter(self.images.values())).endswith(COMPRESSED)

    @property
    def plain_images(self) -> dict[str, str]:
        """Image topics without /compressed: names for remapping, as image_transport has them."""
        return {role: topic.removesuffix(COMPRESSED) for role, topic in self.images.items()}

    def topics(self) -> list[str]:
        """All of them: images, then calibrations."""
        return [*self.images.values(), *self.infos.values()]


def find_rig(bag: BagReader, roles: Sequence[str]) -> RigTopics:
    """Find the cameras for some roles.

    Args:
        bag: Open bag.
        roles: ("left", "right") is the calibrated stereo pair; a single role is the best forward
            camera with calibration; other roles are looked for in the names of the topics.

    Raises:
        BagError: A camera is missing or not clear; the text lists the candidates.
    """
    if tuple(roles) == STEREO:
        pair = find_stereo(bag)
        images = {"left": pair.left_image, "right": pair.right_image}
        return RigTopics(images, {"left": pair.left_info, "right": pair.right_info})
    cameras = [camera for camera in calibrated_topics(bag) if camera.is_calibrated]
    if len(roles) == 1:
        return _rig({roles[0]: _best_forward(bag, cameras)})
    return _rig(_by_name(bag, cameras, roles))


def rig_in_bag(bag: BagReader, rig: RigTopics) -> RigTopics:
    """A named rig, compressed where the bag has only that.

    Raises:
        BagError: The bag does not have an image topic.
    """
    images = {}
    for role, topic in rig.plain_images.items():
        found = [name for name in (topic, f"{topic}{COMPRESSED}") if name in bag.topics]
        if not found:
            raise BagError(
                f"bag {bag.path} has no topic {topic}; it has {', '.join(bag.topics) or 'none'}"
            )
        images[role] = found[0]
    if len({topic.endswith(COMPRESSED) for topic in images.values()}) > 1:
        raise BagError(
            f"bag {bag.path}: some of the images {', '.join(images.values())} are compressed and "
            "some are not; a node takes one kind only"
        )
    return RigTopics(images, rig.infos)


def by_role(roles: Sequence[str], topics: Sequence[str]) -> dict[str, str]:
    """Image topics that somebody has named, by role.

    Raises:
        ConfigError: Fewer or more are named than there are roles.
    """
    if len(topics) != len(roles):
        raise ConfigError(
            f"{len(topics)} image topics were named, the cameras are {len(roles)}: "
            f"{', '.join(roles)}"
        )
    return dict(zip(roles, topics, strict=True))


def named_rig(
    images: Mapping[str, str], infos: Mapping[str, str], *, compressed: bool = False
) -> RigTopics:
    """A rig whose topics are known; a calibration that is not named lies beside its images."""
    compressed = compressed or any(topic.endswith(COMPRESSED) for topic in images.values())
    suffix = COMPRESSED if compressed else ""
    plain = {role: topic.removesuffix(COMPRESSED) for role, topic in images.items()}
    return RigTopics(
        {role: f"{topic}{suffix}" for role, topic in plain.items()},
        {role: infos.get(role) or info_topic(topic) for role, topic in plain.items()},
    )


def _rig(cameras: Mapping[str, CalibratedTopic]) -> RigTopics:
    images = {role: camera.image for role, camera in cameras.items()}
    return RigTopics(images, {role: camera.info for role, camera in cameras.items()})


def _best_forward(bag: BagReader, cameras: Sequence[CalibratedTopic]) -> CalibratedTopic:
    """Pinhole before fisheye, front before back, colour before grey, left before right."""
    if not cameras:
        raise _missing(bag, "no calibrated camera", cameras)

    def rank(camera: CalibratedTopic) -> tuple[bool, ...]:
        words = _words(camera.image)
        turned = words & {"left", "right"} if "front" in words or words & _BEHIND else set()
        return (
            camera.is_pinhole,
            not words & _BEHIND,
            "front" in words and not turned,
            not turned,
            bool(words & {"color", "colour"}),
            "right" not in words and camera.tx >= 0,
        )

    return max(cameras, key=rank)  # the first of equals, in the order of names


def _by_name(
    bag: BagReader, cameras: Sequence[CalibratedTopic], roles: Sequence[str]
) -> dict[str, CalibratedTopic]:
    found = {}
    for role in roles:
        fitting = [c for c in cameras if _bare(role) in map(_bare, c.image.split("/"))]
        if len(fitting) != 1:
            problem = f"{len(fitting) or 'no'} calibrated cameras for '{role}'"
            raise _missing(bag, problem, cameras)
        found[role] = fitting[0]
    if len({camera.compressed for camera in found.values()}) > 1:
        raise _missing(bag, "both compressed and plain images among its cameras", cameras)
    return found


def _missing(
    bag: BagReader, problem: str, cameras: Iterable[CalibratedTopic]
) -> UnclearCamerasError:
    images = [topic.name for topic in bag.topics.values() if is_picture(topic)]
    return UnclearCamerasError(
        f"bag {bag.path} has {problem}: name the image topics yourself. "
        f"Image topics: {', '.join(images) or 'none'}; "
        f"with calibration: {', '.join(c.image for c in cameras) or 'none'}"
    )


def _bare(part: str) -> str:
    """A role or a part of a topic's name without the word camera: front_left."""
    return re.sub(r"^(camera|cam)_|_(camera|cam)$", "", part.lower())


def _words(topic: str) -> set[str]:
    return set(re.split(r"[/_]", topic.lower()))
