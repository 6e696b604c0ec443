"""Any teacher of single images over all cameras of a recording, for the label worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from occ_training.labels.answers import Answer
from occ_training.labels.bag_images import BagImage, BagImages
from occ_training.labels.layers import layer_topic

Values = npt.NDArray[np.generic]


class ImageTeacher(Protocol):
    """Answers for one image.

    Attributes:
        name: Kind, identity of the weights, and every setting that changes the answers.
    """

    name: str

    def __call__(self, image: BagImage, bag: BagImages) -> Mapping[str, Values]:
        """Values by kind of layer (see `layers`), as they are kept."""
        ...


class ImageLabeler:
    """Asks a teacher about every image of a recording.

    Args:
        images: The recording.
        teacher: Whom to ask.
    """

    def __init__(self, images: BagImages, teacher: ImageTeacher) -> None:
        self._images, self._teacher = images, teacher
        self.recording, self.stamps_ns = images.name, images.stamps_ns
        self.identity = f"{teacher.name}; {','.join(images.cameras)}"

    def answer(self, frame: int) -> list[Answer]:
        """The layers of one image."""
        image = self._images[frame]
        camera = image.camera
        return [
            Answer(layer_topic(camera.image, kind), image.stamp_ns, camera.frame_id, values)
            for kind, values in self._teacher(image, self._images).items()
        ]
