"""A stand-in for LSeg in the procedural world: made from class images, wrong as those are wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_training.labels.teacher import OUTDOOR_CLASSES, TeacherInput
from occ_training.world.classes import COUNT, Class
from occ_training.world.teachers import TOY_TEXT_ENCODER, class_embeddings

_SURE = 10.0  # logit of a patch that shows one class only

# Classes of the world by the names of the outdoor prompts; what has none is "others".
_NAMES = {
    Class.CAR: "car", Class.BICYCLE: "bicycle", Class.MOTORCYCLE: "bicycle", Class.TRUCK: "truck",
    Class.BUS: "bus", Class.CONSTRUCTION_VEHICLE: "truck", Class.TRAILER: "truck",
    Class.PERSON: "person", Class.BICYCLIST: "rider", Class.MOTORCYCLIST: "rider",
    Class.ROAD: "road", Class.PARKING: "parking", Class.SIDEWALK: "sidewalk",
    Class.OTHER_GROUND: "ground", Class.BUILDING: "building", Class.FENCE: "fence",
    Class.VEGETATION: "vegetation", Class.TRUNK: "vegetation", Class.TERRAIN: "ground",
    Class.POLE: "pole", Class.TRAFFIC_SIGN: "trafficsign", Class.TRAFFIC_LIGHT: "trafficlight",
    Class.BARRIER: "wall",
}  # fmt: skip


class ToyTeacher:
    """Answers from the class image alone; the picture is not looked at.

    Args:
        channels: Of the features.
        stride: Pixels of the student's image per answer.
    """

    name = f"stand-in ({TOY_TEXT_ENCODER})"
    classes = OUTDOOR_CLASSES

    def __init__(self, channels: int = 512, stride: int = 8) -> None:
        self.channels, self._stride = channels, stride
        self._embeddings = torch.from_numpy(class_embeddings(channels)).float()
        others = OUTDOOR_CLASSES.index("others")
        index = [OUTDOOR_CLASSES.index(_NAMES[c]) if c in _NAMES else others for c in Class]
        self._prompts = F.one_hot(torch.tensor(index), len(OUTDOOR_CLASSES)).float()

    @torch.no_grad()
    def __call__(self, given: TeacherInput) -> TeacherTargets:
        """Features and class logits.

        Raises:
            ConfigError: There is no class image.
        """
        if given.class_image is None:
            raise ConfigError(
                "the stand-in teacher needs class images: give topics.classes, or the real teacher"
            )
        shares = _class_shares(given.class_image.cpu(), self._stride)
        features = torch.einsum("bchw,ct->bthw", shares, self._embeddings)
        logits = _SURE * torch.einsum("bchw,ck->bkhw", shares, self._prompts)
        return TeacherTargets(F.normalize(features, dim=1), logits)


def _class_shares(class_image: Tensor, stride: int) -> Tensor:
    """`[B, classes, H / stride, W / stride]` share of each class; missing pixels have none."""
    known = class_image.long().clamp(max=COUNT)
    one_hot = F.one_hot(known, COUNT + 1)[..., :COUNT].movedim(-1, 1).float()
    return F.avg_pool2d(one_hot, stride)
