"""Object-order ray casting: which solid does every ray meet first.

Rays come in tiles (8 x 8 pixels, a block of LiDAR beams, the sub-rays of one pixel). A solid is
tested against the rays of a tile only if the tile's axis meets the solid's box, widened by the
tile's opening: the bounding rectangle of the solid, for any lens and any scanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from occ_training.world.arrays import Array, Vector3, cast, dot, namespace, norm
from occ_training.world.intersect import box_interval, kernels
from occ_training.world.primitives import Primitives

SKY, ROAD, RAISED = -1, -2, -3  # targets that are no primitive
_PAIRS_PER_CHUNK = 1 << 22
_TESTS_PER_CHUNK = 1 << 15  # float64 temporaries that stay in the cache


@dataclass(frozen=True, eq=False)
class Rays:
    """Rays in tiles, world frame, float64.

    Attributes:
        origin: Three arrays `[T, 1]`, `[T, S]` or `[1, 1]` (one pinhole), metres.
        direction: Three arrays `[T, S]` or `[1, 1]` (parallel light), unit vectors.
    """

    origin: Vector3
    direction: Vector3

    def take(self, tiles: Array) -> Rays:
        """Some tiles."""
        return Rays(_rows(self.origin, tiles), _rows(self.direction, tiles))

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return max(self.origin[0].shape[0], self.direction[0].shape[0])


def _rows(v: Vector3, rows: Array | slice) -> Vector3:
    """Rows of columns, or the columns themselves if one row stands for all."""
    return v if v[0].shape[0] == 1 else tuple(c[rows] for c in v)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Which primitives each tile has to be tested against.

    Attributes:
        tile: `[M]` int64.
        prim: `[M]` int64.
        near: `[M]` float32, lower bound of the distance to a hit, metres.
    """

    tile: Array
    prim: Array
    near: Array


def local_origin(prims: Primitives, rows: Array | slice, p: Vector3) -> Vector3:
    """World points in the frames of primitives; `rows` broadcast against the points' columns."""
    c, R = prims.center[rows], prims.rotation[rows]
    v = tuple(p[i] - c[:, i, None] for i in range(3))
    return local_direction(R, v)


def local_direction(R: Array, v: Vector3) -> Vector3:
    """World directions in frames `R` `[M, 3, 3]` (local -> world)."""
    return tuple(
        R[:, 0, i, None] * v[0] + R[:, 1, i, None] * v[1] + R[:, 2, i, None] * v[2]
        for i in range(3)
    )


def columns(values: Array) -> Vector3:
    """`[M, 3]` as three `[M, 1]`."""
    return (values[:, 0, None], values[:, 1, None], values[:, 2, None])


def find_pairs(prims: Primitives, rays: Rays, reach_m: float = 400.0) -> Pairs:
    """Conservative list of (tile, primitive) pairs, sorted by tile and then by distance."""
    xp = namespace(rays.direction[0])
    axis, spread, origin, drift = _cones(rays)
    tiles = rays.tiles
    step = max(1, (1 << 18) // max(1, len(prims)))
    found = []
    for start in range(0, tiles, step):
        part = slice(start, min(tiles, start + step))
        near, hit = _cone_hits(prims, *(_rows(c, part) for c in (axis, spread, origin, drift)))
        hit = hit & (near < reach_m)
        rows, tile = xp.nonzero(hit) if xp is np else torch.nonzero(hit, as_tuple=True)
        found.append((tile + start, rows, near[hit]))
    tile, prim, near = (xp.concat([f[i] for f in found]) for i in range(3))
    if xp is np:
        order = np.lexsort((near, tile))
        tile, prim, near = tile[order], prim[order], near[order]
    return Pairs(tile, prim, near)


def _cones(rays: Rays) -> tuple[Vector3, tuple[Array], Vector3, tuple[Array]]:
    """Axis, largest deviation from it, mean origin and largest drift from that, per tile."""
    xp = namespace(rays.direction[0])
    mean = tuple(c.mean(1)[:, None] for c in rays.direction)
    length = norm(mean)
    axis = tuple(c / length for c in mean)
    away = tuple(c - a for c, a in zip(rays.direction, axis, strict=True))
    spread = xp.sqrt(xp.amax(dot(away, away), 1)) + 1e-6
    origin = tuple(c.mean(1)[:, None] for c in rays.origin)
    off = tuple(c - m for c, m in zip(rays.origin, origin, strict=True))
    drift = xp.sqrt(xp.amax(dot(off, off), 1)) + 1e-4
    flat = tuple(cast(a[:, 0], "float32") for a in axis)
    start = tuple(c[:, 0] for c in origin)
    return flat, (cast(spread, "float32"),), start, (cast(drift, "float32"),)


def _cone_hits(
    prims: Primitives,
    axis: Vector3,
    spread: tuple[Array],
    origin: Vector3,
    drift: tuple[Array],
) -> tuple[Array, Array]:
    """Entry distance `[P, t]` of tile axes into widened boxes and whether they meet."""
    xp = namespace(axis[0])
    o = tuple(cast(c, "float32") for c in local_origin(prims, slice(None), origin))
    d = local_direction(cast(prims.rotation, "float32"), axis)
    far = xp.sqrt(dot(o, o)) + cast(prims.radius, "float32")[:, None]
    widen = far * spread[0] + drift[0] + 2e-3
    half = tuple(c + widen for c in columns(cast(prims.half, "float32")))
    near, leave = box_interval(o, d, half)
    return xp.clip(near, 0.0, None), (near <= leave) & (leave > 0)


def nearest_hit(
    prims: Primitives, holes: Array, rays: Rays, pairs: Pairs, distance: Array, target: Array
) -> None:
    """Replace `distance` and `target` (both `[T, S]`) in place where a primitive is nearer."""
    work = _rounds if namespace(distance) is np else _scatter
    for kind, kernel in kernels(holes).items():
        rows = prims.kind[pairs.prim] == int(kind)
        of_kind = Pairs(pairs.tile[rows], pairs.prim[rows], pairs.near[rows])
        if len(of_kind.tile):
            work(prims, kernel, rays, of_kind, distance, target)


def _test(prims: Primitives, kernel, rays: Rays, tile: Array, prim: Array) -> Array:
    """Distances `[M, S]` of the rays of tiles to one primitive each."""
    part = rays.take(tile)
    o = local_origin(prims, prim, part.origin)
    d = local_direction(prims.rotation[prim], part.direction)
    return kernel(o, d, columns(prims.half[prim]))


def _rounds(prims: Primitives, kernel, rays: Rays, pairs: Pairs, distance, target) -> None:
    """Front to back in waves of 1, 1, 2, 4... candidates of every tile, until all are covered."""
    first = np.flatnonzero(np.diff(pairs.tile, prepend=-1))
    rank = np.arange(len(pairs.tile)) - np.repeat(first, np.diff(first, append=len(pairs.tile)))
    wave = np.frexp(rank.astype(np.float64))[1]
    order = np.argsort(wave, kind="stable")
    ends = np.cumsum(np.bincount(wave))
    farthest = distance.max(1)
    step = max(1, _TESTS_PER_CHUNK // distance.shape[1])
    for start, end in zip((0, *ends[:-1]), ends, strict=True):
        rows = order[start:end]
        rows = rows[pairs.near[rows] < farthest[pairs.tile[rows]]]
        for begin in range(0, len(rows), step):
            chunk = rows[begin : begin + step]
            _merge(prims, kernel, rays, pairs.tile[chunk], pairs.prim[chunk], distance, target)
        if len(rows):
            touched = pairs.tile[rows]
            farthest[touched] = distance[touched].max(1)


def _merge(prims: Primitives, kernel, rays: Rays, tile, prim, distance, target) -> None:
    """Test pairs sorted by tile and keep what is nearer."""
    t = _test(prims, kernel, rays, tile, prim)
    starts = np.flatnonzero(np.diff(tile, prepend=-1))
    ids = prim[:, None]
    if len(starts) < len(tile):
        best = np.minimum.reduceat(t, starts, axis=0)
        group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(tile)))
        ids = np.maximum.reduceat(np.where(t == best[group], ids, -1), starts, axis=0)
        t, tile = best, tile[starts]
    before = distance[tile]
    nearer = t < before
    distance[tile] = np.where(nearer, t, before)
    target[tile] = np.where(nearer, ids, target[tile])


def _scatter(prims: Primitives, kernel, rays: Rays, pairs: Pairs, distance, target) -> None:
    """All pairs of a chunk at once, merged by an order-free minimum."""
    samples = distance.shape[1]
    flat_t, flat_id = distance.view(-1), target.view(-1)
    lane = torch.arange(samples, device=distance.device)
    for tile, prim in zip(
        pairs.tile.split(max(1, _PAIRS_PER_CHUNK // samples)),
        pairs.prim.split(max(1, _PAIRS_PER_CHUNK // samples)),
        strict=True,
    ):
        t = _test(prims, kernel, rays, tile, prim)
        where = tile[:, None] * samples + lane
        before = flat_t.clone()
        flat_t.scatter_reduce_(0, where.view(-1), t.reshape(-1), "amin")
        flat_id.masked_fill_(flat_t < before, -9)
        wins = (t == flat_t[where]) & (t < before[where])
        ids = prim[:, None].expand_as(t)[wins]
        flat_id.scatter_reduce_(0, where[wins], ids, "amax")


def any_hit(prims: Primitives, holes: Array, rays: Rays, pairs: Pairs, wanted: Array) -> Array:
    """Whether anything lies on each ray; rays that are not `wanted` are reported free."""
    xp = namespace(wanted)
    distance = xp.where(wanted, xp.inf, -xp.inf)
    distance = cast(distance, "float32")
    target = cast(xp.full_like(distance, SKY), "int64")
    nearest_hit(prims, holes, rays, pairs, distance, target)
    return target >= 0
