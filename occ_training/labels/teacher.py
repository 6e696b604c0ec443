"""What every language teacher of VLScene is to the training, real or stand-in."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from jaxtyping import Float, UInt8
from torch import Tensor

from occ_perception.systems.vlscene.distillation import TeacherTargets

# Prompts of the published distillation, in the order of the classes (specification 3.11).
OUTDOOR_CLASSES = (
    "ground", "road", "person", "rider", "car", "truck", "bus", "train", "bicycle", "sidewalk",
    "parking", "railtrack", "building", "wall", "fence", "bridge", "pole", "trafficlight",
    "trafficsign", "vegetation", "others",
)  # fmt: skip


class TeacherInput(NamedTuple):
    """What a teacher may look at.

    Attributes:
        image: `[B, 3, H, W]` left images as the student gets them.
        class_image: `[B, H, W]` true class per pixel, for stand-ins of the procedural world; real
            teachers never see it.
    """

    image: Float[Tensor, "b 3 h w"]
    class_image: UInt8[Tensor, "b h w"] | None = None


class Teacher(Protocol):
    """Answers for left images at the size of the student's feature map.

    Attributes:
        name: Kind and identity, e.g. "lseg 3f2a..."; label layers carry it.
        classes: Names of the classes of its logits.
        channels: Channels of its features.
    """

    name: str
    classes: tuple[str, ...]
    channels: int

    def __call__(self, given: TeacherInput) -> TeacherTargets:
        """Features and class logits; constants, never part of a gradient."""
        ...
