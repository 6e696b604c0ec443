"""Features of image patches that a feature field learns from: what every teacher of them is."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from occ_perception.systems.scenedino.targets import FeatureTargets
from occ_training.data.patches import GridCells, Patches


class Surfaces(NamedTuple):
    """What is really to be seen; only stand-ins of the procedural world look at it.

    Attributes:
        classes: Cityscapes id per pixel, 0 where the lens sees nothing.
        depth_m: Depth along the axis, metres; 0 or infinite where there is no surface.
    """

    classes: UInt8[Tensor, "b v h w"]
    depth_m: Float[Tensor, "b v h w"]


class PatchQuery(NamedTuple):
    """Which features are wanted, and of what.

    Attributes:
        images: RGB -1..1 of the views that are asked.
        K: Their normalised intrinsics.
        T_world_cam: Their poses; the world's z axis points up.
        cells: Cells of the ViT's grid once it is moved.
        patches: The pixels of these cells.
        shift: Rows and columns by which the grid is moved, pixels.
        surfaces: Of the same views, or None.
    """

    images: Float[Tensor, "b v 3 h w"]
    K: Float[Tensor, "b v 3 3"]
    T_world_cam: Float[Tensor, "b v 4 4"]
    cells: GridCells
    patches: Patches
    shift: tuple[int, int]
    surfaces: Surfaces | None = None


class PatchTeacher(Protocol):
    """Gives one feature per patch.

    Attributes:
        name: Kind and identity; a run's configuration carries it.
    """

    name: str

    def __call__(self, query: PatchQuery) -> Float[Tensor, "b p c"]:
        """Features, never part of a gradient; NaN where there is nothing to be seen."""
        ...


class FrozenTwin:
    """The published teacher: the encoder's frozen twin looks at the whole images.

    Args:
        targets: Holds the twin.
        name: Of its weights.
    """

    def __init__(self, targets: FeatureTargets, name: str = "frozen twin") -> None:
        self._targets, self.name = targets, name

    def __call__(self, query: PatchQuery) -> Float[Tensor, "b p c"]:
        """Features of the cells."""
        images, cells = query.images, query.cells
        maps = self._targets.features(images.flatten(0, 1), query.shift)
        maps = maps.unflatten(0, images.shape[:2]).movedim(2, -1)
        sample = torch.arange(len(images), device=images.device)[:, None]
        return maps[sample, cells.view, cells.row, cells.column]
