"""SNOG: patches drawn from a mixture of Gaussians on objects, kept apart (ViPOcc section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from scipy import ndimage
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_training.data.patches import Patches, random_patches

INSTANCES = frozenset({"car", "person"})
_BACKGROUND_SHARE = 0.5
_DRAWS_INSIDE, _REJECTIONS, _HOPELESS = 11, 10, 100_000


@dataclass(frozen=True)
class Detection:
    """One object that a detector found.

    Attributes:
        label: Its class.
        box: x0, y0, x1, y1, pixels.
        pixels: Area of its mask.
    """

    label: str
    box: tuple[float, float, float, float]
    pixels: float


def detections_in(classes: npt.NDArray[np.uint8], names: Mapping[int, str]) -> list[Detection]:
    """Objects of a class image: what hangs together is one.

    Args:
        classes: `[H, W]` ids.
        names: Id -> label of the classes whose objects are wanted.
    """
    found = []
    for value, label in names.items():
        parts, _ = ndimage.label(classes == value)
        for number, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            box = (columns.start, rows.start, columns.stop, rows.stop)
            pixels = int((parts[rows, columns] == number).sum())
            # One pixel has no logarithm to weigh with and no box to draw from.
            if pixels > 1:
                found.append(Detection(label, box, pixels))
    return found


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Where patches on one object lie.

    Attributes:
        mean: Box centre (x, y), pixels.
        covariance: `[2, 2]`; two standard deviations reach the box's edge.
    """

    mean: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]

    @classmethod
    def of(cls, detection: Detection) -> Gaussian:
        """The Gaussian of a detection's box."""
        x0, y0, x1, y1 = detection.box
        sigma = np.array([(x1 - x0) / 4, (y1 - y0) / 4])
        return cls(np.array([(x0 + x1) / 2, (y0 + y1) / 2]), np.diag(sigma**2))

    def pdf(self, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Probability density at points `[..., 2]`, 1/pixel^2."""
        variance = np.diag(self.covariance)
        exponent = -0.5 * ((xy - self.mean) ** 2 / variance).sum(axis=-1)
        return np.exp(exponent) / (2 * math.pi * np.sqrt(variance.prod()))


class SnogSampler:
    """Draws patch centres that prefer objects and do not overlap.

    Args:
        image_size: Height and width, pixels. The published preparation passes width and height
            swapped, which moves centres out of the image; do the same to reproduce it.
        patch: Edge length of the patches, pixels.
        rng: Source of randomness.
    """

    def __init__(self, image_size: tuple[int, int], patch: int, rng: np.random.Generator) -> None:
        height, width = image_size
        self.size = np.array([width, height])
        self.margin = patch // 2
        self.spacing = math.sqrt(2) * patch
        self.rng = rng

    @staticmethod
    def mixture(detections: Sequence[Detection]) -> tuple[list[Gaussian], npt.NDArray[np.float64]]:
        """Gaussians of the instances and the probabilities of (each of them, background)."""
        chosen = [d for d in detections if d.label in INSTANCES]
        if not chosen:
            return [], np.ones(1)
        areas = np.log([d.pixels for d in chosen])
        share = (1 - _BACKGROUND_SHARE) * areas / areas.sum()
        return [Gaussian.of(d) for d in chosen], np.append(share, _BACKGROUND_SHARE)

    def centres(self, detections: Sequence[Detection], count: int) -> npt.NDArray[np.int64]:
        """Patch centres (x, y) `[count, 2]`, at least a patch diagonal apart.

        Raises:
            ConfigError: So many patches do not fit into the image.
        """
        gaussians, shares = self.mixture(detections)
        accepted = np.empty((0, 2), dtype=np.int64)
        for component in self.rng.choice(len(shares), size=count, p=shares):
            gaussian = gaussians[component] if component < len(gaussians) else None
            accepted = np.vstack([accepted, self._apart(gaussian, accepted)])
        return accepted

    def _apart(
        self, gaussian: Gaussian | None, accepted: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        for attempt in range(_HOPELESS):
            centre = self._draw(gaussian if attempt < _REJECTIONS else None)
            if (np.linalg.norm(accepted - centre, axis=1) >= self.spacing).all():
                return centre
        width, height = self.size
        raise ConfigError(
            f"{len(accepted) + 1} patches of {2 * self.margin} pixels do not fit apart into an "
            f"image of {width}x{height}; ask for fewer"
        )

    def _draw(self, gaussian: Gaussian | None) -> npt.NDArray[np.int64]:
        if gaussian is not None:
            for _ in range(_DRAWS_INSIDE):
                drawn = self.rng.multivariate_normal(gaussian.mean, gaussian.covariance)
                centre = np.rint(drawn).astype(np.int64)
                if ((centre > self.margin) & (centre < self.size - self.margin)).all():
                    return centre
        return self.rng.integers(self.margin, self.size - self.margin)


def snog_patches(
    anchors: Int[Tensor, "b 2 n 2"],
    image_size: tuple[int, int],
    patch: int,
    generator: torch.Generator | None = None,
    as_published: bool = False,
) -> Patches:
    """Half of the patches at the anchors of the perspective views, half uniform on the fisheyes.

    Args:
        anchors: Centres (x, y) for the first two loss views of every sample.
        image_size: Height and width, pixels.
        patch: Edge length, pixels.
        generator: Source of randomness of the fisheye patches.
        as_published: Give all samples the last one's patches, as the official code does.
    """
    batch, slots, per_slot, _ = anchors.shape
    fisheye = random_patches(batch, slots * per_slot, slots, image_size, patch, generator)
    corner = anchors.flatten(1, 2) - patch // 2
    slot = torch.arange(slots).repeat_interleave(per_slot).expand(batch, -1)
    view = torch.cat([fisheye.view + slots, slot], dim=1)
    y = torch.cat([fisheye.y, corner[..., 1]], dim=1)
    x = torch.cat([fisheye.x, corner[..., 0]], dim=1)
    if as_published:
        view, y, x = (column[-1:].expand(batch, -1) for column in (view, y, x))
    return Patches(view, y, x, patch)


def published_slots(anchors: Int[Tensor, "b 2 n 2"], loss_views: Sequence[int]) -> Tensor:
    """Anchors in the slots that the official code tags them with: swapped for views 1 and 2."""
    return anchors.flip(1) if list(loss_views[:2]) == [1, 2] else anchors
