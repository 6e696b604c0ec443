"""Any teacher of single images over all cameras of a recording, for the label worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from occ_perception.core.errors import ConfigError
from occ_training.labels.answers import Answer, packed_depth
from occ_training.labels.bag_images import BagImage, BagImages
from occ_training.labels.layers import DEPTH, MASKS, STREET, layer_topic

Values = npt.NDArray[np.generic]


class ImageTeacher(Protocol):
    """Answers for one image.

    Attributes:
        name: Kind, identity of the weights, and every setting that changes the answers.
    """

    name: str

    def __call__(self, image: BagImage, bag: BagImages) -> Mapping[str, Values]:
        """Values by kind of layer (see `layers`); depth float32 in metres, 0 = none."""
        ...


@dataclass(frozen=True)
class LayerForm:
    """How answers are kept; smaller than the images where the training shrinks them anyway.

    Attributes:
        scale: Factor for depth and classes, at most 1; GaussianFlowOcc trains on 0.44.
        depth: "fp16" (metres) or "png16" (millimetres up to 65.5 m).
    """

    scale: float = 1.0
    depth: str = "fp16"

    def __post_init__(self) -> None:
        """Refuse what cannot be kept.

        Raises:
            ConfigError: The scale or the form is not possible.
        """
        if not 0 < self.scale <= 1 or self.depth not in ("fp16", "png16"):
            raise ConfigError(
                f"layers are kept at a scale of 0 to 1 and depth as fp16 or png16, not at "
                f"{self.scale} and as '{self.depth}'"
            )

    def kept(self, kind: str, values: Values) -> Values:
        """Values of a kind of layer as they are kept; resized by the formula of the training."""
        if kind == DEPTH:
            return packed_depth(self._shrunk(values, "bilinear"), self.depth)
        if kind in (MASKS, STREET):
            return self._shrunk(values, "nearest")
        return values

    def _shrunk(self, values: Values, mode: str) -> Values:
        if self.scale == 1:
            return values
        image = torch.from_numpy(values.astype(np.float32))[None, None]
        corners = False if mode == "bilinear" else None
        small = F.interpolate(image, scale_factor=self.scale, mode=mode, align_corners=corners)
        return small[0, 0].numpy().astype(values.dtype)


class ImageLabeler:
    """Asks a teacher about every image of a recording.

    Args:
        images: The recording.
        teacher: Whom to ask.
        form: How the answers are kept.
    """

    def __init__(
        self, images: BagImages, teacher: ImageTeacher, form: LayerForm | None = None
    ) -> None:
        self._images, self._teacher, self._form = images, teacher, form or LayerForm()
        self.recording, self.stamps_ns = images.name, images.stamps_ns
        self.identity = f"{teacher.name}; {self._form}; {','.join(images.cameras)}"

    def answer(self, frame: int) -> list[Answer]:
        """The layers of one image."""
        image = self._images[frame]
        camera = image.camera
        return [
            Answer(
                layer_topic(camera.image, kind),
                image.stamp_ns,
                camera.frame_id,
                self._form.kept(kind, values),
            )
            for kind, values in self._teacher(image, self._images).items()
        ]
