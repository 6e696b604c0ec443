"""Binary occupancy on labelled voxels: what counts, what is visible, how it is scored."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from occ_perception.core.errors import PredictionError

EMPTY, INVALID = 0, 255


def occupied_voxels(labels: Int[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Voxels with a class."""
    return (labels != EMPTY) & (labels != INVALID)


def invalidate_underground(
    labels: Int[Tensor, "x y z"], layers: int | None = None
) -> Int[Tensor, "x y z"]:
    """Empty voxels below the lowest occupied one of their column become invalid.

    LiDAR cannot look below the street, so "empty" there means nothing. Columns without any
    occupied voxel are invalid throughout.

    Args:
        labels: Class ids, z up.
        layers: Only this many of the lowest layers, None = all.
    """
    underground = (occupied_voxels(labels).cumsum(dim=2) == 0) & (labels == EMPTY)
    if layers is not None:
        underground[:, :, layers:] = False
    return labels.masked_fill(underground, INVALID)


def visible_voxels(
    occupied: Bool[Tensor, "x y z"],
    K: Float[Tensor, "3 3"],
    size: tuple[int, int],
    T_voxel_cam: Float[Tensor, "4 4"],
    voxel_m: float = 0.2,
) -> Bool[Tensor, "x y z"]:
    """Free voxels that the rays of an image pass before they hit something.

    Args:
        occupied: Occupied voxels.
        K: Pixel intrinsics.
        size: Height and width of the image, pixels.
        T_voxel_cam: Camera to the grid's corner, metres.
        voxel_m: Edge length of a voxel; rays march in steps of it.
    """
    v, u = torch.meshgrid(*(torch.arange(side).to(K) for side in size), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).flatten(0, 1)
    directions = pixels @ torch.linalg.inv(K).T
    directions = directions / directions.norm(dim=1, keepdim=True) @ T_voxel_cam[:3, :3].T
    shape = torch.tensor(occupied.shape, device=K.device)
    visible = torch.zeros_like(occupied)
    steps = int(torch.linalg.vector_norm(shape.float()) + T_voxel_cam[:3, 3].norm() / voxel_m) + 1
    for step in range(steps):
        index = ((T_voxel_cam[:3, 3] + directions * (voxel_m * step)) / voxel_m).floor().long()
        inside = ((index >= 0) & (index < shape)).all(dim=1)
        x, y, z = index[inside].T
        hit = torch.zeros_like(inside)
        hit[inside] = occupied[x, y, z]
        x, y, z = index[inside & ~hit].T
        visible[x, y, z] = True
        directions = directions[~hit]
    return visible


def inside_boxes(
    points: Float[Tensor, "m 3"],
    centres: Float[Tensor, "b 3"],
    sizes: Float[Tensor, "b 3"],
    rotations: Float[Tensor, "b 3 3"],
    scale: float = 1.0,
) -> Bool[Tensor, "b m"]:
    """Which points lie in which box.

    Args:
        points: Points, metres.
        centres: Box centres.
        sizes: Edge lengths along the boxes' own axes.
        rotations: Box axes as columns.
        scale: Enlargement of the boxes; 1.5 in the object scores.
    """
    local = (points - centres[:, None]) @ rotations
    return (local.abs() <= scale * sizes[:, None] / 2).all(dim=-1)


class BinaryCounts(NamedTuple):
    """Counts of occupied voxels.

    Attributes:
        tp: Occupied and predicted so.
        fp: Predicted only.
        fn: Occupied only.
    """

    tp: int
    fp: int
    fn: int

    @property
    def iou(self) -> float:
        """Intersection over union."""
        return self.tp / max(self.tp + self.fp + self.fn, 1)

    @property
    def precision(self) -> float:
        """Share of predicted voxels that are occupied."""
        return self.tp / max(self.tp + self.fp, 1)

    @property
    def recall(self) -> float:
        """Share of occupied voxels that are predicted."""
        return self.tp / max(self.tp + self.fn, 1)


def binary_counts(
    predicted: Bool[Tensor, "*cells"],
    occupied: Bool[Tensor, "*cells"],
    valid: Bool[Tensor, "*cells"],
) -> BinaryCounts:
    """Count occupied voxels where they are valid."""
    p, g = predicted[valid], occupied[valid]
    return BinaryCounts(int((p & g).sum()), int((p & ~g).sum()), int((~p & g).sum()))


def next_labelled(frame: int, labelled: Sequence[int]) -> int:
    """The first labelled frame at or after a frame.

    Args:
        frame: Frame id.
        labelled: Ids of labelled frames, rising.

    Raises:
        PredictionError: There is none.
    """
    place = bisect.bisect_left(labelled, frame)
    if place == len(labelled):
        raise PredictionError(f"no labelled voxels at or after frame {frame}")
    return labelled[place]
