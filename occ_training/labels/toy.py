"""A stand-in for LSeg in the procedural world: true classes, their borders a little off."""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_training.labels.teacher import OUTDOOR_CLASSES, TeacherInput
from occ_training.labels.toy_layers import toy_classes
from occ_training.world.teachers import TOY_TEXT_ENCODER, text_embedding

_SURE = 10.0  # logit of a patch that shows one class only
_BORDER_PX, _CELL_PX = 3.0, 12  # how far borders are off, and how quickly that changes
_MISSING = 255

# Prompts by Cityscapes' ids, which class images in bags have; the rest is "others".
_CITYSCAPES = {
    6: "ground", 7: "road", 8: "sidewalk", 9: "parking", 10: "railtrack", 11: "building",
    12: "wall", 13: "fence", 15: "bridge", 17: "pole", 19: "trafficlight", 20: "trafficsign",
    21: "vegetation", 22: "ground", 24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus",
    29: "truck", 30: "truck", 31: "train", 32: "bicycle", 33: "bicycle",
}  # fmt: skip


class ToyTeacher:
    """Answers from the class image alone; the picture is not looked at.

    Args:
        channels: Of the features.
        stride: Pixels of the student's image per answer.
        misnames: Also take 7 % of the segments for something alike and miss 5 %, as the world's
            segmenter does; without it only borders are off.
    """

    classes = OUTDOOR_CLASSES

    def __init__(self, channels: int = 512, stride: int = 8, *, misnames: bool = False) -> None:
        self.name = f"stand-in ({TOY_TEXT_ENCODER})" + (" that misnames" if misnames else "")
        self.channels, self._stride = channels, stride
        self._spoil = _misnamed if misnames else _displaced
        vectors = [torch.from_numpy(text_embedding(text, channels)) for text in OUTDOOR_CLASSES]
        self._embeddings = torch.stack(vectors)
        self._prompt_of = torch.full((256,), OUTDOOR_CLASSES.index("others"))
        for city_id, prompt in _CITYSCAPES.items():
            self._prompt_of[city_id] = OUTDOOR_CLASSES.index(prompt)
        self._prompt_of[_MISSING] = len(OUTDOOR_CLASSES)

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
        images = torch.stack([self._spoil(image) for image in given.class_image.cpu()])
        count = len(OUTDOOR_CLASSES)
        prompts = F.one_hot(self._prompt_of[images.long()], count + 1)[..., :count]
        shares = F.avg_pool2d(prompts.movedim(-1, 1).float(), self._stride)
        features = torch.einsum("bkhw,kt->bthw", shares, self._embeddings)
        return TeacherTargets(F.normalize(features, dim=1), _SURE * shares)


def _misnamed(image: Tensor) -> Tensor:
    """Borders displaced, segments renamed and missing, in a way that hangs on the image alone."""
    street = image.contiguous().numpy()
    random = np.random.default_rng(zlib.crc32(street.tobytes()))
    return torch.from_numpy(toy_classes(street, np.zeros(street.shape, np.uint16), random))


def _displaced(image: Tensor) -> Tensor:
    """The image with its borders a few pixels off, in a way that hangs on the image alone."""
    height, width = image.shape
    random = torch.Generator().manual_seed(zlib.crc32(image.contiguous().numpy().tobytes()))
    coarse = torch.randn(1, 2, height // _CELL_PX + 2, width // _CELL_PX + 2, generator=random)
    field = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)[0]
    dy, dx = (_BORDER_PX / 2 * field).round().clamp(-_BORDER_PX, _BORDER_PX).long()
    rows = (torch.arange(height)[:, None] + dy).clamp(0, height - 1)
    columns = (torch.arange(width) + dx).clamp(0, width - 1)
    return image[rows, columns]
