"""Ray against solid, in the solid's own frame: distance of the first hit, infinity for none.

All kernels take the origin and direction as three arrays and the half extents as three arrays,
everything broadcastable, and return the distance in units of the direction's length.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from occ_training.world.arrays import Array, Vector3, along, cast, dot, namespace
from occ_training.world.primitives import Kind

FOLIAGE_CELL_M = 0.05
FOLIAGE_SIDE = 64
FOLIAGE_HOLES = 0.25
PICKET_PITCH_M = 0.16
PICKET_WIDTH = 0.62
_TINY = 1e-12


def _first_positive(near: Array, far: Array, hit: Array) -> Array:
    """The entry if it lies ahead, else the exit, else infinity."""
    xp = namespace(near)
    t = xp.where(near > 0, near, far)
    return xp.where(hit & (t > 0), t, xp.inf)


def _slab(o: Array, d: Array, half: Array) -> tuple[Array, Array]:
    xp = namespace(d)
    inverse = 1.0 / xp.where(abs(d) < _TINY, _TINY, d)
    middle, reach = -o * inverse, half * abs(inverse)
    return middle - reach, middle + reach


def box_interval(o: Vector3, d: Vector3, half: Vector3) -> tuple[Array, Array]:
    """Entry and exit distance of a box; entry > exit where it is missed."""
    xp = namespace(d[0])
    near, far = _slab(o[0], d[0], half[0])
    for axis in (1, 2):
        n, f = _slab(o[axis], d[axis], half[axis])
        near, far = xp.maximum(near, n), xp.minimum(far, f)
    return near, far


def box(o: Vector3, d: Vector3, half: Vector3) -> Array:
    """Oriented box."""
    near, far = box_interval(o, d, half)
    return _first_positive(near, far, near <= far)


def cylinder(o: Vector3, d: Vector3, half: Vector3) -> Array:
    """Cylinder along z, radius `half[0]`, closed."""
    xp = namespace(d[0])
    a = d[0] * d[0] + d[1] * d[1] + _TINY
    b = o[0] * d[0] + o[1] * d[1]
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - half[0] * half[0])
    reach = xp.sqrt(xp.clip(root, 0.0, None))
    near, far = _slab(o[2], d[2], half[2])
    near, far = xp.maximum(near, (-b - reach) / a), xp.minimum(far, (-b + reach) / a)
    return _first_positive(near, far, (root > 0) & (near <= far))


def _ellipsoid_roots(o: Vector3, d: Vector3, half: Vector3) -> tuple[Array, Array, Array]:
    xp = namespace(d[0])
    o = (o[0] / half[0], o[1] / half[1], o[2] / half[2])
    d = (d[0] / half[0], d[1] / half[1], d[2] / half[2])
    a, b = dot(d, d), dot(o, d)
    root = b * b - a * (dot(o, o) - 1.0)
    reach = xp.sqrt(xp.clip(root, 0.0, None))
    return (-b - reach) / a, (-b + reach) / a, root > 0


def ellipsoid(o: Vector3, d: Vector3, half: Vector3) -> Array:
    """Ellipsoid with radii `half`."""
    return _first_positive(*_ellipsoid_roots(o, d, half))


def cone(o: Vector3, d: Vector3, half: Vector3) -> Array:
    """Cone along z with its tip at +half[2] and radius `half[0]` at the base -half[2]."""
    xp = namespace(d[0])
    k2 = (0.5 * half[0] / half[2]) ** 2
    down = half[2] - o[2]
    a = d[0] * d[0] + d[1] * d[1] - k2 * d[2] * d[2]
    a = xp.where(abs(a) < _TINY, _TINY, a)
    b = o[0] * d[0] + o[1] * d[1] + k2 * down * d[2]
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - k2 * down * down)
    reach = xp.sqrt(xp.clip(root, 0.0, None))
    best = xp.full_like(root, xp.inf)
    for t in ((-b - reach) / a, (-b + reach) / a):
        inside = abs(o[2] + t * d[2]) <= half[2]
        best = xp.where((root > 0) & inside & (t > 0) & (t < best), t, best)
    t = (-half[2] - o[2]) / xp.where(abs(d[2]) < _TINY, _TINY, d[2])
    in_base = (o[0] + t * d[0]) ** 2 + (o[1] + t * d[1]) ** 2 <= half[0] * half[0]
    return xp.where(in_base & (t > 0) & (t < best), t, best)


def foliage_holes(rng: np.random.Generator) -> np.ndarray:
    """Periodic volume `[64**3]` bool of leafless cells; smooth, so that gaps have a size."""
    shape = (FOLIAGE_SIDE,) * 3
    noise = rng.standard_normal(shape)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return (noise < np.quantile(noise, FOLIAGE_HOLES)).ravel()


def _in_hole(p: Vector3, holes: Array) -> Array:
    xp = namespace(p[0])
    cell = [cast(xp.floor(c / FOLIAGE_CELL_M), "int64") & (FOLIAGE_SIDE - 1) for c in p]
    return holes[(cell[0] * FOLIAGE_SIDE + cell[1]) * FOLIAGE_SIDE + cell[2]]


def make_foliage(holes: Array) -> Callable[[Vector3, Vector3, Vector3], Array]:
    """Ellipsoid whose surface has holes: the ray passes on to the inner side, or through."""

    def foliage(o: Vector3, d: Vector3, half: Vector3) -> Array:
        xp = namespace(d[0])
        near, far, hit = _ellipsoid_roots(o, d, half)
        blocked = xp.full_like(near, xp.inf)
        hit = hit & (far > 0)
        o, d = (tuple(xp.broadcast_to(c, hit.shape)[hit] for c in v) for v in (o, d))
        near, far = near[hit], far[hit]
        open_far = _in_hole(along(o, d, far), holes)
        t = xp.where(open_far, xp.inf, far)
        front = (near > 0) & ~_in_hole(along(o, d, near), holes)
        blocked[hit] = xp.where(front, near, t)
        return blocked

    return foliage


def pickets(o: Vector3, d: Vector3, half: Vector3) -> Array:
    """Box whose faces have gaps along x; a ray entering at a gap passes."""
    xp = namespace(d[0])
    t = box(o, d, half)
    u = (o[0] + xp.where(t < xp.inf, t, 0.0) * d[0]) / PICKET_PITCH_M
    return xp.where(u - xp.floor(u) < PICKET_WIDTH, t, xp.inf)


def kernels(holes: Array) -> dict[Kind, Callable[[Vector3, Vector3, Vector3], Array]]:
    """The kernel of every kind; `holes` is `foliage_holes` on the backend of the rays."""
    return {
        Kind.BOX: box,
        Kind.CYLINDER: cylinder,
        Kind.ELLIPSOID: ellipsoid,
        Kind.CONE: cone,
        Kind.FOLIAGE: make_foliage(holes),
        Kind.PICKETS: pickets,
    }
