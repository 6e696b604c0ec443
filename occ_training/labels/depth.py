"""Teachers of metric depth: any such model of `transformers`, in Metric3D's manner or its own."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.depth_prior import DepthPrior
from occ_perception.blocks.pretrained import check_metric
from occ_perception.systems.base import Precision, autocast
from occ_training.labels.bag_images import BagImage, BagImages
from occ_training.labels.layers import DEPTH
from occ_training.labels.pretrained import fingerprint, frozen

FURTHEST_M = 300.0


@dataclass(frozen=True)
class Canonical:
    """Metric3D's way to be right for any lens: everything is brought to one focal length.

    Attributes:
        size: Height and width of the network's input, pixels.
        focal_px: Focal length that the network was trained for.
        swapped: Give the network blue for red, as the published pseudo labels were made.
    """

    size: tuple[int, int] = (616, 1064)
    focal_px: float = 1000.0
    swapped: bool = True

    mean = (123.675, 116.28, 103.53)
    std = (58.395, 57.12, 57.375)

    def scale(self, height: int, width: int) -> float:
        """Factor by which an image is resized to fit in."""
        return min(self.size[0] / height, self.size[1] / width)

    def prepare(self, rgb: npt.NDArray[np.uint8]) -> Float[Tensor, "1 3 h w"]:
        """The image resized, on a ground of the mean colour, normalised."""
        top, left, height, width = self._place(*rgb.shape[:2])
        image = rgb[..., ::-1] if self.swapped else rgb
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        canvas = np.tile(np.array(self.mean, np.float32), (*self.size, 1))
        canvas[top : top + height, left : left + width] = small
        normalised = (canvas - np.array(self.mean)) / np.array(self.std)
        return torch.from_numpy(normalised.astype(np.float32)).permute(2, 0, 1)[None]

    def restore(
        self, depth: Float[Tensor, "h2 w2"], size: tuple[int, int], focal_px: float
    ) -> Float[Tensor, "h w"]:
        """Metres at the size of the image.

        Args:
            depth: What the network says of `prepare`'s result, at any resolution.
            size: Height and width of the image.
            focal_px: Focal length of the image.
        """
        whole = F.interpolate(depth[None, None].float(), self.size, mode="bilinear")
        top, left, height, width = self._place(*size)
        inner = whole[..., top : top + height, left : left + width]
        resized = F.interpolate(inner, size, mode="bilinear", align_corners=False)[0, 0]
        metres = resized * (focal_px * self.scale(*size) / self.focal_px)
        return metres.clamp(0, FURTHEST_M)

    def _place(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the image on the canvas."""
        factor = self.scale(height, width)
        inner = int(height * factor), int(width * factor)
        top, left = ((a - b) // 2 for a, b in zip(self.size, inner, strict=True))
        return top, left, *inner


class MetricDepth:
    """Asks a depth model of `transformers`.

    Args:
        network: E.g. `AutoModelForDepthEstimation`.
        processor: Its image processor; unused with `canonical`.
        device: Where it runs.
        precision: Of the network.
        canonical: Prepare images and answers as Metric3D does, not as the processor does.

    Raises:
        ConfigError: The model's answers are no metres.
    """

    def __init__(
        self,
        network: nn.Module,
        processor: Any,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        canonical: Canonical | None = None,
    ) -> None:
        check_metric(network.config)
        self._network, self._processor = frozen(network, device), processor
        self._device, self._precision = torch.device(device), precision
        self._canonical = canonical
        kind = network.config.model_type
        self.name = f"depth {kind} {fingerprint(network)}; {canonical or 'own processor'}"

    @torch.no_grad()
    def __call__(self, image: BagImage, bag: BagImages) -> dict[str, npt.NDArray[np.float32]]:
        """Depth `[H, W]` float32, metres."""
        ask = self._own if self._canonical is None else self._in_canonical_space
        depth = ask(image).clamp(0, FURTHEST_M)
        return {DEPTH: depth.cpu().numpy().astype(np.float32)}

    def _own(self, image: BagImage) -> Tensor:
        size = image.rgb.shape[:2]
        given = self._processor(images=image.rgb, return_tensors="pt").to(self._device)
        with autocast(self._device, self._precision):
            outputs = self._network(**given)
        finish = self._processor.post_process_depth_estimation
        options: dict[str, Any] = {"target_sizes": [size]}
        if "source_sizes" in inspect.signature(finish).parameters:
            options["source_sizes"] = [size]
        return finish(outputs, **options)[0]["predicted_depth"].float()

    def _in_canonical_space(self, image: BagImage) -> Tensor:
        pixels = self._canonical.prepare(image.rgb).to(self._device)
        with autocast(self._device, self._precision):
            depth = self._network(pixel_values=pixels).predicted_depth[0]
        return self._canonical.restore(depth, image.rgb.shape[:2], float(image.camera.P[0, 0]))


class PriorDepth:
    """Asks Depth Anything V2 as ViPOcc's publication did: at the size of ViPOcc's images.

    Args:
        network: With weights (`occ weights convert depth_prior ...`).
        sha256: Hash of the weights.
        device: Where it runs.
        precision: Of the network.
    """

    def __init__(
        self,
        network: DepthPrior,
        sha256: str,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self._network, self._size = frozen(network, device), network.config.image_size
        self._device, self._precision = torch.device(device), precision
        self.name = f"depth anything v2 {sha256[:12]}; {self._size[1]}x{self._size[0]}"

    @torch.no_grad()
    def __call__(self, image: BagImage, bag: BagImages) -> dict[str, npt.NDArray[np.float32]]:
        """Depth `[h, w]` float32 of the image resized to the network's size, metres."""
        small = cv2.resize(image.rgb, self._size[::-1], interpolation=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(small).permute(2, 0, 1)[None].to(self._device).float() / 255
        with autocast(self._device, self._precision):
            depth = self._network(pixels)[0, 0]
        return {DEPTH: depth.float().cpu().numpy()}
