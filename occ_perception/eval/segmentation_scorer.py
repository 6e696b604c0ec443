"""Classes of pixels without labels, as SceneDINO's table of 2D segmentation has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from occ_perception.bags.images import decode_values
from occ_perception.bags.topics import COMPRESSED
from occ_perception.core.cityscapes import IGNORED, TRAIN_IDS, TRAIN_NAMES, kitti360_train_ids
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.dense_crf import refine
from occ_perception.eval.per_image import Stamps
from occ_perception.eval.scoring import Confusion, Scores
from occ_perception.eval.segmentation_metrics import (
    SegmentationMetric,
    SegmentationResult,
    assign_clusters,
)
from occ_perception.systems.base import NOT_SEEN, PIXEL_CLASSES

TrainIds = Callable[[npt.NDArray[np.integer]], npt.NDArray[np.int16]]
_SCORES = {"miou": "miou", "weighted miou": "weighted_miou", "accuracy": "accuracy"}


class SegmentationScorer:
    """Pixels of the first camera against its class images, before and after the best matching.

    Args:
        train_ids: Cityscapes train ids of the ids in the class images.
        answers: Number of different answers of the system.
        are_classes: Answers are train ids; else they are clusters and only matched scores exist.
        crf: Let the answers follow the edges of the picture first (paper's figures).
    """

    wanted = frozenset({PIXEL_CLASSES})

    def __init__(
        self,
        train_ids: TrainIds = kitti360_train_ids,
        answers: int = TRAIN_IDS,
        are_classes: bool = True,
        crf: bool = False,
    ) -> None:
        self.name = "2d segmentation, crf" if crf else "2d segmentation"
        self._train_ids, self._are_classes, self._crf = train_ids, are_classes, crf
        self._metric = SegmentationMetric(TRAIN_IDS, answers)
        self._frames: BagFrames | None = None
        self._topic = ""

    def open(self, frames: BagFrames) -> Stamps:
        """Begin with a bag.

        Raises:
            BagError: It has no class images of the camera.
        """
        self._frames, self._topic = frames, class_topic(frames)
        return Stamps(frames.stamps_of(self._topic))

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count the pixels of one image.

        Raises:
            ConfigError: The system says nothing about pixels.
        """
        answer = prediction.extras.get(PIXEL_CLASSES)
        if answer is None:
            raise ConfigError(
                "this system gives no classes of pixels that could be scored: 2D segmentation is "
                "for a scenedino with a semantic head, run in this process"
            )
        message = self._frames.message(self._topic, stamp_ns)
        if message is None:
            return None
        truth = torch.from_numpy(self._train_ids(decode_values(message).astype(np.int64)))
        truth = _nearest(truth, answer).masked_fill(answer.cpu() == NOT_SEEN, IGNORED)
        if self._crf:
            answer = self._refined(answer, stamp_ns)
        alone = SegmentationMetric(TRAIN_IDS, self._metric.confusion.shape[1])
        alone.update(answer.cpu().masked_fill(truth == IGNORED, 0), truth)
        self._metric.confusion += alone.confusion
        return (alone.supervised() if self._are_classes else alone.unsupervised()).accuracy

    def scores(self) -> Scores:
        """Answers as they are named, where they are, and after the best matching to classes."""
        found = _named(self._metric.unsupervised(), "matched ")
        return (_named(self._metric.supervised(), "") if self._are_classes else {}) | found

    def classes(self) -> Mapping[str, Scores]:
        """IoU per class; 0 where a class never occurs, as published."""
        columns = {"matched": self._metric.unsupervised()}
        if self._are_classes:
            columns = {"as named": self._metric.supervised(), **columns}
        return {
            column: dict(zip(TRAIN_NAMES, result.class_iou, strict=True))
            for column, result in columns.items()
        }

    def confusion(self) -> Confusion | None:
        """Pixels per true class and answer, clusters under the name of their class."""
        counts = self._metric.confusion
        if not self._are_classes:
            counts = self._metric.matched(assign_clusters(counts))
        return Confusion(TRAIN_NAMES, counts.numpy())

    def _refined(self, answer: Int[Tensor, "h w"], stamp_ns: int) -> Int[Tensor, "h w"]:
        image = self._frames.at(stamp_ns).frames[0].image
        resized = F.interpolate(
            torch.from_numpy(image.copy()).movedim(-1, 0)[None].float(),
            tuple(answer.shape), mode="bilinear", antialias=True,
        )[0].round().byte()  # fmt: skip
        count = self._metric.confusion.shape[1]
        seen = answer.cpu().masked_fill(answer.cpu() == NOT_SEEN, 0)
        return torch.from_numpy(refine(seen.numpy(), resized.movedim(0, -1).numpy(), count))


def class_topic(frames: BagFrames) -> str:
    """Topic of the class images of the first camera.

    Raises:
        BagError: There is none.
    """
    camera = frames.image_topics[0].removesuffix(COMPRESSED).rsplit("/", 1)[0]
    plain = f"/ground_truth{camera}/semantic"
    for topic in (f"{plain}{COMPRESSED}", plain):
        if frames.stamps_of(topic):
            return topic
    raise BagError(
        f"bag {frames.bag} has no class images {plain}: score segmentation on bags of KITTI-360 "
        "with data_2d_semantics, or of the procedural world"
    )


def _nearest(truth: Int[Tensor, "h w"], like: Int[Tensor, "h2 w2"]) -> Int[Tensor, "h2 w2"]:
    """Classes at the size of the answer; classes are never mixed."""
    resized = F.interpolate(truth[None, None].float(), tuple(like.shape), mode="nearest")
    return resized[0, 0].long()


def _named(result: SegmentationResult, prefix: str) -> Scores:
    return {f"{prefix}{name}": getattr(result, field) for name, field in _SCORES.items()}
