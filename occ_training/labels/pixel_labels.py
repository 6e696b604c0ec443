"""A language teacher over a recording, for the label worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_training.labels.answers import Answer
from occ_training.labels.teacher import Teacher, TeacherInput
from occ_training.recipes.vlscene_data import VLSceneDataset, VLSceneTopics


class PixelLabeler:
    """Asks a teacher about the left images of a recording.

    Args:
        recording: The bag.
        teacher: Whom to ask.
        config: Network whose image size the answers are for.
        topics: Where things are; only frames that have all of the layers are labelled.
        layer: First part of the topics' names.

    Raises:
        OccError: The bag cannot be used.
    """

    def __init__(
        self,
        recording: Path,
        teacher: Teacher,
        config: VLSceneConfig,
        topics: VLSceneTopics,
        layer: str = "/labels/lseg",
    ) -> None:
        self._samples = VLSceneDataset([recording], config, topics)
        self._teacher, self._layer = teacher, layer
        scene = self._samples.source.scenes[0]
        self.recording = scene.name
        self.stamps_ns: Sequence[int] = [scene.stamp_ns(int(row)) for row in scene.anchors]
        self.frame_id = next(iter(scene.cameras.values())).frame_id
        height, width = config.input_size
        self.identity = f"{teacher.name}; {width}x{height}; {','.join(teacher.classes)}"

    def answer(self, frame: int) -> list[Answer]:
        """Features and logits of a frame."""
        sample = self._samples[frame]
        classes = None if sample.class_image is None else sample.class_image[None]
        answers = self._teacher(TeacherInput(sample.left[None], classes))._asdict()
        names = {"features": "features", "seg_logits": "logits"}
        stamp_ns = self.stamps_ns[frame]
        return [
            Answer(f"{self._layer}/{name}", stamp_ns, self.frame_id, _half(answers[key]))
            for key, name in names.items()
        ]


def _half(maps: torch.Tensor) -> np.ndarray:
    return maps[0].permute(1, 2, 0).cpu().to(torch.float16).numpy()
