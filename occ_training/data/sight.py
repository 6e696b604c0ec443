"""What a LiDAR's lines of sight say about space: where beams passed nothing is, where they end is.

Not part of any published training of density fields, which learn from pictures alone; it lets a
small network learn in minutes what pictures teach it in days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occ_perception.geometry.transforms import Matrix
from occ_training.data.samples import Points

Cells = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
# Cells along each axis that a key has room for.
_SPAN = 1 << 20


@dataclass(frozen=True)
class SightSpec:
    """How much is asked of a sample's sweeps.

    Attributes:
        cells: Occupied cells per sample.
        free_per_cell: Free cells on the beam of each.
        cell_m: Edge length of the cells, which lie as those of grids in the sensor's frame.
        range_m: Cells further away are left out.
        close_m: Half of the free cells are at most so far before the beam's end.
    """

    cells: int = 768
    free_per_cell: int = 3
    cell_m: float = 0.2
    range_m: float = 56.0
    close_m: float = 3.0


class SightPoints(NamedTuple):
    """Centres of cells whose state is known.

    Attributes:
        points: In the frame of the input's camera, metres.
        occupied: Whether a beam ends in the cell; else one passed through it.
        known: Cells in view; the others only fill up the batch.
    """

    points: Float[Tensor, "b n 3"]
    occupied: Bool[Tensor, "b n"]
    known: Bool[Tensor, "b n"]

    def to(self, device: torch.device) -> SightPoints:
        """The same on another device."""
        return SightPoints(*(part.to(device) for part in self))


@dataclass(frozen=True, eq=False)
class Beams:
    """The beams of several sweeps in the frame of the first one's sensor.

    Attributes:
        keys: Sorted keys of all cells in which a beam ends.
        origins: `[n, 3]` metres; of one beam per cell in view.
        ends: `[n, 3]` metres.
        T_cam_sensor: `[4, 4]` sensor to the input's camera.
        K: `[3, 3]` normalised intrinsics of the input.
    """

    keys: Cells
    origins: Floats
    ends: Floats
    T_cam_sensor: Matrix
    K: Matrix


def gather_beams(
    sweeps: Sequence[Points], T_cam_sensor: Matrix, K: Matrix, spec: SightSpec
) -> Beams:
    """Beams of sweeps that end in the input's view, one per cell.

    Args:
        sweeps: Sweeps with poses, that of the input's instant first.
        T_cam_sensor: `[4, 4]` sensor to the input's camera.
        K: `[3, 3]` normalised intrinsics of the input.
        spec: Cells.
    """
    poses = [sweep.T_world_base @ sweep.T_base_sensor for sweep in sweeps]
    to_first = [np.linalg.solve(poses[0], pose) for pose in poses]
    ends = [s.xyz @ T[:3, :3].T + T[:3, 3] for s, T in zip(sweeps, to_first, strict=True)]
    origins = np.concatenate(
        [np.broadcast_to(T[:3, 3], e.shape) for T, e in zip(to_first, ends, strict=True)]
    )
    ends = np.concatenate(ends)
    keys = _keys(ends, spec.cell_m)
    kept, first = np.unique(keys, return_index=True)
    near = np.linalg.norm(ends[first], axis=1) < spec.range_m
    first = first[near & _in_view(ends[first], T_cam_sensor, K)]
    return Beams(
        kept, origins[first].astype(np.float32), ends[first].astype(np.float32), T_cam_sensor, K
    )


def draw_cells(beams: Beams, spec: SightSpec, rng: np.random.Generator) -> SightPoints:
    """Random occupied cells and free ones on their beams, as a batch of one."""
    if not len(beams.ends):
        total = spec.cells * (1 + spec.free_per_cell)
        nothing = torch.zeros(1, total, dtype=torch.bool)
        return SightPoints(torch.zeros(1, total, 3), nothing, nothing)
    chosen = rng.integers(len(beams.ends), size=spec.cells)
    origins, ends = beams.origins[chosen, None], beams.ends[chosen, None]
    length = np.linalg.norm(ends - origins, axis=-1)
    share = rng.random((spec.cells, spec.free_per_cell), dtype=np.float32)
    close = 1 - np.minimum(share * spec.close_m / length, 1)
    is_close = rng.random(share.shape) < 0.5
    passed = origins + np.where(is_close, close, share)[..., None] * (ends - origins)
    cells = np.concatenate([ends, passed], axis=1).reshape(-1, 3)
    centres = (np.floor(cells / spec.cell_m) + 0.5) * spec.cell_m
    ended = np.isin(_keys(cells, spec.cell_m), beams.keys)
    wanted = np.zeros((spec.cells, 1 + spec.free_per_cell), np.bool_)
    wanted[:, 0] = True
    # What one beam passed, another may have hit.
    known = (wanted.ravel() | ~ended) & _in_view(centres, beams.T_cam_sensor, beams.K)
    T = beams.T_cam_sensor
    points = (centres @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    batch = (points, wanted.ravel(), known)
    return SightPoints(*(torch.from_numpy(part)[None] for part in batch))


def _keys(points: npt.NDArray[np.floating], cell_m: float) -> Cells:
    cells = np.floor(points / cell_m).astype(np.int64) + _SPAN // 2
    return (cells[:, 0] * _SPAN + cells[:, 1]) * _SPAN + cells[:, 2]


def _in_view(
    points: npt.NDArray[np.floating], T_cam_sensor: Matrix, K: Matrix
) -> npt.NDArray[np.bool_]:
    uvw = (points @ T_cam_sensor[:3, :3].T + T_cam_sensor[:3, 3]) @ K.T
    ahead = uvw[:, 2] > 0.5
    uv = uvw[:, :2] / np.where(ahead, uvw[:, 2], 1.0)[:, None]
    return ahead & (np.abs(uv) < 1).all(axis=1)
