"""Rays laid out in blocks of 8 x 8, so that a block is a narrow cone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from occ_training.world.lenses import Lens

TILE = 8


@dataclass(frozen=True, eq=False)
class Tiles:
    """Rays of a lens or scanner in its own frame.

    Attributes:
        index: `[T, 64]` flat index of the pixel (row-major) or beam.
        ray: `[T, 64, 3]` unit rays.
        valid: `[T, 64]` the entry is no padding and the lens sees it.
    """

    index: npt.NDArray[np.int64]
    ray: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]


def tiles_of(ray: npt.NDArray[np.float64], seen: npt.NDArray[np.bool_]) -> Tiles:
    """Cut a table of rays `[H, W, 3]` into blocks; blocks that see nothing are left out."""
    height, width = seen.shape
    rows, cols = -(-height // TILE), -(-width // TILE)
    v, u = np.meshgrid(np.arange(rows * TILE), np.arange(cols * TILE), indexing="ij")
    inside = (v < height) & (u < width)
    u, v = np.minimum(u, width - 1), np.minimum(v, height - 1)

    def blocks(a: npt.NDArray) -> npt.NDArray:
        rest = a.shape[2:]
        a = a.reshape(rows, TILE, cols, TILE, *rest).swapaxes(1, 2)
        return a.reshape(rows * cols, TILE * TILE, *rest)

    index, ray, seen = blocks(v * width + u), blocks(ray[v, u]), blocks(seen[v, u])
    valid = blocks(inside) & seen
    used = valid.any(1)
    index, ray, seen, valid = index[used], ray[used], seen[used], valid[used]
    # Blind pixels of a lens look where their block looks: they must not widen its cone.
    first = ray[np.arange(len(ray)), valid.argmax(1)]
    return Tiles(index, np.where(seen[..., None], ray, first[:, None]), valid)


@lru_cache(maxsize=32)
def lens_tiles(lens: Lens) -> Tiles:
    """The blocks of a lens; kept, because a rig's lenses never change."""
    v, u = np.meshgrid(np.arange(lens.height), np.arange(lens.width), indexing="ij")
    return tiles_of(*lens.rays(np.stack((u, v), -1).astype(np.float64)))
