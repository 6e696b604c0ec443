"""Grounded SAM: words to boxes (Grounding DINO), boxes to masks (SAM), masks to a class per pixel.

One question per word, as GaussianFlowOcc's labels were made (specification 5.4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from occ_perception.systems.base import Precision, autocast
from occ_perception.text.vocabulary import Vocabulary, load_vocabulary
from occ_training.labels.bag_images import BagImage, BagImages
from occ_training.labels.layers import MASKS
from occ_training.labels.pretrained import fingerprint, frozen


@dataclass(frozen=True)
class MaskOptions:
    """How words become masks; the defaults are the published ones.

    Attributes:
        vocabulary: Words to look for, and the class of each; class 0 is "none".
        box_threshold: Least score of a box.
        text_threshold: Least score of a token that belongs to a box's phrase.
        words_at_once: Words that are asked about together, to save memory.
        boxes_at_once: Boxes whose masks are made together.
    """

    vocabulary: str = "occ3d_grounding"
    box_threshold: float = 0.20
    text_threshold: float = 0.20
    words_at_once: int = 6
    boxes_at_once: int = 32


class Detections(NamedTuple):
    """Boxes that were found.

    Attributes:
        boxes: Left, top, right, bottom in pixels of the image.
        scores: 0..1.
        classes: Class id of each.
    """

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    classes: list[int]


class OneImage(nn.Module):
    """A detector's image backbone that sees an image once, however many words are asked about.

    Args:
        backbone: The backbone, `GroundingDinoConvModel`.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self._seen: tuple[Tensor, Any, Any] | None = None

    @property
    def position_embedding(self) -> nn.Module:
        """The backbone's own, which the detector also uses for its coarsest map."""
        return self.backbone.position_embedding

    def look_at(self, pixel_values: Tensor, pixel_mask: Tensor) -> None:
        """Encode the image `[1, 3, h, w]` that all questions are about."""
        self._seen = (pixel_values, *self.backbone(pixel_values, pixel_mask))

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> tuple[Any, Any]:
        """The image's maps for every question of the batch."""
        count = len(pixel_values)
        _, maps, positions = self._seen
        repeated = [(_repeat(m, count), _repeat(mask, count)) for m, mask in maps]
        return repeated, [_repeat(position, count) for position in positions]


def _repeat(one: Tensor, count: int) -> Tensor:
    return one.expand(count, *one.shape[1:])


class GroundedSam:
    """Asks both networks about an image.

    Args:
        detector: `GroundingDinoForObjectDetection`.
        detector_processor: Its processor.
        segmenter: `SamModel`.
        segmenter_processor: Its processor.
        options: Words and thresholds.
        device: Where both run.
        precision: Of both.
    """

    def __init__(
        self,
        detector: nn.Module,
        detector_processor: Any,
        segmenter: nn.Module,
        segmenter_processor: Any,
        options: MaskOptions | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.options = options or MaskOptions()
        self._vocabulary: Vocabulary = load_vocabulary(self.options.vocabulary)
        self.name = (
            f"grounded sam {fingerprint(detector)} {fingerprint(segmenter)}; "
            f"{self.options.vocabulary}; {self.options.box_threshold}; "
            f"{self.options.text_threshold}"
        )
        self._detector, self._segmenter = (frozen(n, device) for n in (detector, segmenter))
        self._backbone = OneImage(self._detector.model.backbone)
        self._detector.model.backbone = self._backbone
        self._words, self._sam = detector_processor, segmenter_processor
        self._device, self._precision = torch.device(device), precision

    @torch.no_grad()
    def __call__(self, image: BagImage, bag: BagImages) -> dict[str, npt.NDArray[np.uint8]]:
        """Class `[H, W]` uint8 of every pixel: that of the best box whose mask covers it, or 0."""
        found = self.detect(image.rgb)
        classes = np.zeros(image.rgb.shape[:2], np.uint8)
        if len(found.scores):
            order = found.scores.argsort().tolist()  # the best one is painted last
            boxes = found.boxes[order]
            named = [found.classes[row] for row in order]
            for class_id, mask in zip(named, self.segment(image.rgb, boxes), strict=True):
                classes[mask.cpu().numpy()] = class_id
        return {MASKS: classes}

    def detect(self, rgb: npt.NDArray[np.uint8]) -> Detections:
        """Boxes of all words of the vocabulary."""
        pixels = self._words.image_processor(images=rgb, return_tensors="pt").to(self._device)
        with autocast(self._device, self._precision):
            self._backbone.look_at(pixels["pixel_values"], pixels["pixel_mask"])
        words = [_asked(prompt) for prompt in self._vocabulary.prompts]
        class_of = dict(zip(words, self._vocabulary.class_ids, strict=True))
        boxes, scores, classes = [], [], []
        for answer in self._answers(pixels, words, rgb.shape[:2]):
            for box, score, phrase in zip(
                answer["boxes"], answer["scores"], answer["text_labels"], strict=True
            ):
                # A phrase that is no word of ours was put together from parts of one.
                if (class_id := class_of.get(_asked(phrase))) is not None:
                    boxes.append(box)
                    scores.append(score)
                    classes.append(class_id)
        empty = torch.zeros(0, 4, device=self._device)
        return Detections(
            torch.stack(boxes).float() if boxes else empty,
            torch.stack(scores).float() if scores else empty[:, 0],
            classes,
        )

    def segment(
        self, rgb: npt.NDArray[np.uint8], boxes: Float[Tensor, "n 4"]
    ) -> Iterator[Bool[Tensor, "h w"]]:
        """The mask of every box, in their order."""
        given = self._sam(images=rgb, return_tensors="pt").to(self._device)
        sizes = (given["original_sizes"], given["reshaped_input_sizes"])
        with autocast(self._device, self._precision):
            embedding = self._segmenter.get_image_embeddings(given["pixel_values"])
        for some in boxes.split(self.options.boxes_at_once):
            scaled = self._sam(images=rgb, input_boxes=[some.tolist()], return_tensors="pt")
            with autocast(self._device, self._precision):
                masks = self._segmenter(
                    image_embeddings=embedding,
                    input_boxes=scaled["input_boxes"].to(self._device, torch.float32),
                    multimask_output=False,
                ).pred_masks
            whole = self._sam.image_processor.post_process_masks(masks.float().cpu(), *sizes)
            yield from whole[0][:, 0]

    def _answers(
        self, pixels: Any, words: Sequence[str], size: tuple[int, int]
    ) -> Iterator[dict[str, Any]]:
        """What the detector says to each word."""
        step = self.options.words_at_once
        for start in range(0, len(words), step):
            asked = [f"{word}." for word in words[start : start + step]]
            text = self._words.tokenizer(asked, padding=True, return_tensors="pt").to(self._device)
            batch = {name: _repeat(pixels[name], len(asked)) for name in pixels}
            with autocast(self._device, self._precision):
                outputs = self._detector(**batch, **text)
            yield from self._words.post_process_grounded_object_detection(
                outputs,
                text["input_ids"],
                threshold=self.options.box_threshold,
                text_threshold=self.options.text_threshold,
                target_sizes=[size] * len(asked),
            )


def _asked(prompt: str) -> str:
    """A word as the detector is asked and answers: without hyphens and full stops."""
    return " ".join(prompt.lower().replace("-", " ").replace(".", " ").split())
