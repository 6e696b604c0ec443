"""Colours of a picture: one sample where a pixel is even, the mean of sub-rays where it is not.

Inside a surface the texture is already filtered to the pixel's footprint, so that sub-rays would
return the same mean; they are shot where a neighbouring pixel sees another solid, the border of a
shadow or a contrast.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from occ_training.world.arrays import Array, Backend, to_numpy
from occ_training.world.light import samples_of, shade
from occ_training.world.primitives import Material, Primitives
from occ_training.world.raycast import SKY, Pairs, Rays, nearest_hit
from occ_training.world.tiling import Tiles
from occ_training.world.view import View, meet_ground

_CONTRAST = 0.08  # of full brightness: neighbours that differ by more get sub-rays
_LEAVES = -10
# Samples worked on at a time: temporaries stay in a CPU's cache; a GPU wants them all.
_CHUNK_CPU, _CHUNK_GPU = 1 << 16, 1 << 23


def colours(
    view: View, tiles: Tiles, rays: Rays, distance: Array, target: Array
) -> npt.NDArray[np.float32]:
    """Picture `[3, H, W]` float32, 1 = white, before exposure.

    Args:
        view: The camera at its moment.
        tiles: Pixels of the lens.
        rays: Their centre rays in the world.
        distance: `[T, 64]` metres.
        target: `[T, 64]` what each centre ray meets.
    """
    color, lit = _shade_tiles(view, rays, distance, target)
    lens, keep = view.lens, tiles.valid.reshape(-1)
    pixel = tiles.index[tiles.valid]

    def image(values: npt.NDArray, fill: float) -> npt.NDArray:
        out = np.full((*values.shape[:-1], lens.height * lens.width), fill, dtype=values.dtype)
        out[..., pixel] = values[..., keep]
        return out.reshape(*values.shape[:-1], lens.height, lens.width)

    picture = image(color, 0.0)
    met, light = image(to_numpy(target).reshape(-1), SKY), image(lit, 0)
    uneven = _uneven(_outlines(view.prims, met), light, picture.mean(0))
    uneven &= image(keep, 0).astype(np.bool_)
    v, u = np.nonzero(uneven)
    step = max(1, _chunk(view.backend) // view.sub_rays**2)
    around, light_around = _around(met, u, v), _around(light, u, v)
    for start in range(0, len(v), step):
        part = slice(start, start + step)
        picture[:, v[part], u[part]] = _sub_rays(
            view, u[part], v[part], around[part], light_around[part]
        )
    return picture


def _chunk(backend: Backend) -> int:
    return _CHUNK_CPU if backend.device in (None, "cpu") else _CHUNK_GPU


def _shade_tiles(
    view: View, rays: Rays, distance: Array, target: Array
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Colours `[3, T * S]` and sunlight (0 or 1) of the centre rays."""
    step = max(1, _chunk(view.backend) // distance.shape[1])
    parts = []
    for start in range(0, rays.tiles, step):
        rows = slice(start, start + step)
        some = rays.take(rows)
        samples = samples_of(
            some.origin, some.direction, distance[rows], target[rows], view.lens.pixel_angle
        )
        color, lit = shade(view.ground, view.prims, view.looks, samples)
        parts.append((to_numpy(color), to_numpy(lit)))
    return np.concatenate([c for c, _ in parts], 1), np.concatenate([s for _, s in parts]) * 1


def _outlines(prims: Primitives, target: npt.NDArray) -> npt.NDArray:
    """Targets with all leaves as one: between two clumps of a crown there is no outline."""
    if not len(prims):
        return target
    leaves = to_numpy(prims.material) == Material.LEAVES
    return np.where((target >= 0) & leaves[np.maximum(target, 0)], _LEAVES, target)


def _uneven(target: npt.NDArray, lit: npt.NDArray, grey: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Pixels that differ from one of their four neighbours."""
    out = np.zeros(target.shape, dtype=np.bool_)
    for a, b in (
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
    ):
        edge = (target[a] != target[b]) | ((lit[a] != lit[b]) & (target[a] != _LEAVES))
        edge |= abs(grey[a] - grey[b]) > _CONTRAST
        out[a] |= edge
        out[b] |= edge
    return out


def _sub_rays(
    view: View, u: npt.NDArray, v: npt.NDArray, around: npt.NDArray, light: npt.NDArray
) -> npt.NDArray[np.float32]:
    """Mean colours `[3, n]` of the sub-rays of some pixels.

    A sub-ray is tested against what the pixel and its eight neighbours see; its shadow ray is
    spared where those agree on solid and light.

    Args:
        view: The camera at its moment.
        u: `[n]` columns.
        v: `[n]` rows.
        around: `[n, 9]` targets of the pixel and its neighbours.
        light: `[n, 9]` their sunlight.
    """
    xp, backend, samples = view.backend.xp, view.backend, view.sub_rays**2
    rays = view.rays(_sub_pixel_rays(view, u, v))
    flat = backend.array((around < SKY).any(1))
    distance = xp.full_like(rays.direction[0], xp.inf)
    target = xp.full_like(distance, SKY, dtype=xp.int64)
    distance[flat], target[flat] = meet_ground(view.ground, rays.take(flat))
    if len(view.prims):
        near = _neighbours(around, backend)
        nearest_hit(view.prims, view.looks.holes, rays, near, distance, target)
    settled = (around == around[:, :1]).all(1) & (light == light[:, :1]).all(1)
    known = backend.array(np.where(settled, light[:, 0], -1).repeat(samples))
    angle = view.lens.pixel_angle / view.sub_rays
    hits = samples_of(rays.origin, rays.direction, distance, target, angle)
    color, _ = shade(view.ground, view.prims, view.looks, hits, known)
    return to_numpy(color).reshape(3, len(u), samples).mean(-1)


def _sub_pixel_rays(view: View, u: npt.NDArray, v: npt.NDArray) -> npt.NDArray[np.float64]:
    """`[n, samples, 3]` rays of the optical frame; the pixel's own where the lens ends within."""
    step = (np.arange(view.sub_rays) + 0.5) / view.sub_rays - 0.5
    dv, du = (a.reshape(-1) for a in np.meshgrid(step, step, indexing="ij"))
    ray, seen = view.lens.rays(np.stack((u[:, None] + du, v[:, None] + dv), -1))
    if seen.all():
        return ray
    own, _ = view.lens.rays(np.stack((u, v), -1).astype(np.float64))
    return np.where(seen[..., None], ray, own[:, None])


def _around(image: npt.NDArray, u: npt.NDArray, v: npt.NDArray) -> npt.NDArray:
    """`[n, 9]` values of the 3 x 3 pixels around some pixels."""
    padded = np.pad(image, 1, mode="edge")
    return np.stack([padded[v + j, u + i] for j in range(3) for i in range(3)], -1)


def _neighbours(around: npt.NDArray, backend: Backend) -> Pairs:
    """(pixel, primitive) pairs: every distinct primitive in the 3 x 3 pixels around."""
    around = np.sort(around, axis=-1)
    fresh = np.ones(around.shape, dtype=np.bool_)
    fresh[:, 1:] = around[:, 1:] != around[:, :-1]
    tile, column = np.nonzero(fresh & (around >= 0))
    near = np.zeros(len(tile), dtype=np.float32)
    return Pairs(*(backend.array(c) for c in (tile, around[tile, column], near)))
