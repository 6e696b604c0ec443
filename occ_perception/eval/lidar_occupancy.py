"""Occupancy of a horizontal slice against LiDAR (BTS, KYN and ViPOcc protocols).

Maps are `[rows, columns]`; row 0 is far, a row is 0.1 m of depth, a column 0.1 m across.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_FREE, _NO_OBJECT = 0, 255


class OccupancyScores(NamedTuple):
    """Shares of cells; NaN where there was no cell to judge.

    Attributes:
        accuracy: O_acc, cells that are right.
        invisible_accuracy: IE_acc, the same over cells that the first scan does not see.
        empty_recall: IE_rec, invisible empty cells that are predicted empty.
    """

    accuracy: float
    invisible_accuracy: float
    empty_recall: float


def occupancy_scores(
    predicted: Bool[Tensor, "*cells"],
    occupied: Bool[Tensor, "*cells"],
    visible: Bool[Tensor, "*cells"],
    judged: Bool[Tensor, "*cells"] | None = None,
) -> OccupancyScores:
    """Score cells.

    Args:
        predicted: Cells that the field says are occupied.
        occupied: Cells that are.
        visible: Cells that the first scan (or the image) sees.
        judged: Cells that count, None = all.
    """
    counts = torch.ones_like(predicted) if judged is None else judged
    hidden = counts & ~visible
    right = (predicted == occupied).float()
    return OccupancyScores(
        float(right[counts].mean()),
        float(right[hidden].mean()),
        float((~predicted)[hidden & ~occupied].float().mean()),
    )


def crop_depth(
    cells: Tensor, z_m: tuple[float, float], map_z_m: tuple[float, float] = (4.0, 50.0)
) -> Tensor:
    """Rows of a map between two depths.

    Args:
        cells: `[rows, columns]` over `map_z_m`, far row first.
        z_m: Nearest and farthest depth to keep, metres.
        map_z_m: Nearest and farthest depth of the map, metres.
    """
    per_metre = 10
    top = int(per_metre * (map_z_m[1] - z_m[1]))
    bottom = int(per_metre * (z_m[0] - map_z_m[0]))
    return cells[top : len(cells) - bottom]


def first_judged_row(visible: Bool[Tensor, "rows columns"], margin_rows: int = 20) -> int | None:
    """Rows farther than this are left out; None when nothing is visible at all."""
    rows = visible.any(dim=1).nonzero()
    return max(0, int(rows[0]) - margin_rows) if len(rows) else None


def object_cells(
    labels: Int[Tensor, "rows columns"], grow_rows: int = 20, grow_columns: int = 5
) -> Bool[Tensor, "rows columns"]:
    """Cells around annotated objects: every object's bounding box, grown.

    Args:
        labels: 0 = free, 255 = occupied by no object, else object ids.
        grow_rows: Rows added on both sides; the far bound is exclusive, as published.
        grow_columns: Columns added on both sides.
    """
    mask = torch.zeros_like(labels, dtype=torch.bool)
    for object_id in labels.unique().tolist():
        if object_id in (_FREE, _NO_OBJECT):
            continue
        rows, columns = (labels == object_id).nonzero().T
        top, left = (
            max(0, int(low.min()) - grow)
            for low, grow in ((rows, grow_rows), (columns, grow_columns))
        )
        mask[top : int(rows.max()) + grow_rows, left : int(columns.max()) + grow_columns] = True
    return mask


class RangeProfile(NamedTuple):
    """Distance to the nearest surface around the sensor.

    Attributes:
        angle_rad: Bin centres, rising, one bin beyond each end of the circle.
        distance_m: Distance in the bins.
    """

    angle_rad: Float[Tensor, " n"]
    distance_m: Float[Tensor, " n"]


def range_profile(
    scan: Float[Tensor, "n 3"], T_level_velo: Float[Tensor, "4 4"], bins: int = 360
) -> RangeProfile:
    """Nearest surfaces of one scan in the slice's height, by viewing angle.

    Args:
        scan: Points in the LiDAR frame, metres.
        T_level_velo: LiDAR to the level camera frame (y down).
        bins: Bins of the circle.
    """
    level = scan @ T_level_velo[:3, :3].T + T_level_velo[:3, 3]
    # Points far from the level frame's origin bound the profile whatever their height.
    far = level.norm(dim=1) >= math.sqrt(20.0**2 + 4.0**2)
    kept = scan[((level[:, 1] >= 0) & (level[:, 1] <= 0.75)) | far]
    angle, order = torch.atan2(kept[:, 1], kept[:, 0]).sort(stable=True)
    distance = kept[order, :2].norm(dim=1)
    edges = torch.linspace(-math.pi, math.pi, bins + 1, device=scan.device)
    which = (torch.searchsorted(edges, angle, right=True) - 1).clamp(0, bins - 1)
    nearest = distance.new_full((bins,), math.inf).scatter_reduce(0, which, distance, "amin")
    centres = (edges[1:] + edges[:-1]) / 2
    filled = _repeat_previous(nearest, distance[0])
    return RangeProfile(
        torch.cat([centres[-1:] - 2 * math.pi, centres, centres[:1] + 2 * math.pi]),
        torch.cat([filled[-1:], filled, filled[:1]]),
    )


def _repeat_previous(values: Tensor, first: Tensor) -> Tensor:
    """Replace infinities by the last finite value before them."""
    values = torch.cat([first[None], values])
    index = torch.arange(len(values), device=values.device)
    last = torch.where(values.isfinite(), index, torch.zeros_like(index)).cummax(dim=0).values
    return values[last][1:]


def occupied_by_scan(
    profile: RangeProfile,
    points: Float[Tensor, "m 3"],
    T_level_velo: Float[Tensor, "4 4"],
    near_m: float = 3.0,
) -> Bool[Tensor, " m"]:
    """Which points lie behind the surface that a scan sees in their direction.

    Args:
        profile: The scan's surfaces.
        points: Points in the level frame, metres.
        T_level_velo: LiDAR to the level frame.
        near_m: Nearer points count as occupied: the vehicle itself.
    """
    T = torch.linalg.inv(T_level_velo)
    velo = points @ T[:3, :3].T + T[:3, 3]
    angle = torch.atan2(velo[:, 1], velo[:, 0])
    # The official code takes the length of the homogeneous vector, a one included.
    distance = (velo.square().sum(dim=1) + 1).sqrt()
    right = torch.searchsorted(profile.angle_rad, angle).clamp(1, len(profile.angle_rad) - 1)
    a0, a1 = profile.angle_rad[right - 1], profile.angle_rad[right]
    d0, d1 = profile.distance_m[right - 1], profile.distance_m[right]
    surface = d0 + (angle - a0) / (a1 - a0) * (d1 - d0)
    return (distance > surface) | (distance < near_m)


class SliceTruth(NamedTuple):
    """Ground truth of a slice.

    Attributes:
        occupied: At most two scans see the point free.
        visible: The first scan sees the point free.
    """

    occupied: Bool[Tensor, " m"]
    visible: Bool[Tensor, " m"]


def slice_truth(
    scans: list[Float[Tensor, "_ 3"]],
    T_level_velo: Float[Tensor, "t 4 4"],
    points: Float[Tensor, "m 3"],
) -> SliceTruth:
    """Occupancy of points from consecutive scans (specification 6.3).

    Args:
        scans: Points of each scan in its LiDAR frame, metres.
        T_level_velo: Each scan's LiDAR to the level frame of the first.
        points: Points in the level frame, metres.
    """
    behind = torch.stack(
        [
            occupied_by_scan(range_profile(scan, T), points, T)
            for scan, T in zip(scans, T_level_velo, strict=True)
        ]
    )
    occupied = 1 + behind.sum(dim=0) > len(scans) - 2
    return SliceTruth(occupied, ~behind[0])
