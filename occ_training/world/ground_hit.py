"""Rays against the ground: safe steps on the long wave, then secant steps on the true profile."""

from __future__ import annotations

from collections.abc import Callable

from occ_training.world.arrays import Array, Vector3, namespace
from occ_training.world.road import KERB_HEIGHT_M, TERRAIN_HEIGHT_M, Ground

_TOLERANCE_M = 1e-4
_MET_M = 5e-3
_SAFE_STEPS = 12
# How far from the kerb a ray that approaches the bounding layer can still meet the other layer.
_BORDER_M = 8.0


def hit_ground(
    ground: Ground, origin: Vector3, direction: Vector3, limit_m: float
) -> tuple[Array, Array]:
    """First hit of every ray with the ground.

    Args:
        ground: The height field.
        origin: Start of the rays, world frame, metres, broadcastable to `direction`.
        direction: Unit vectors, world frame.
        limit_m: Rays are given up beyond this distance.

    Returns:
        Distance (infinity for none) and whether the raised layer was hit, in the rays' shape.
    """
    xp = namespace(direction[0])
    shape = direction[0].shape
    distance = xp.full_like(direction[0], xp.inf)
    raised = xp.zeros_like(direction[0], dtype=xp.bool)
    level = xp.sqrt(direction[0] ** 2 + direction[1] ** 2)
    down = ground.steepest * level - direction[2] > 1e-5
    o = tuple(xp.broadcast_to(c, shape)[down] for c in origin)
    d = tuple(c[down] for c in direction)
    t = _march(ground, o, d, limit_m)
    t, on_top = _choose_layer(ground, o, d, t)
    distance[down] = xp.where(t < limit_m, t, xp.inf)
    raised[down] = on_top
    return distance, raised


def _march(ground: Ground, o: Vector3, d: Vector3, limit_m: float) -> Array:
    """Distance to the highest surface parallel to the long wave; never steps past its first hit."""
    xp = namespace(d[0])
    ceiling = max(0.0, ground.edge_drop_m + KERB_HEIGHT_M + TERRAIN_HEIGHT_M)
    fall = ground.steepest * xp.sqrt(d[0] ** 2 + d[1] ** 2) - d[2]

    def step(o: Vector3, d: Vector3, fall: Array, t: Array) -> tuple[Array, Array]:
        over = o[2] + t * d[2] - ceiling - ground.long_wave(o[0] + t * d[0], o[1] + t * d[1])
        return xp.clip(t + over / fall, 0.0, limit_m), over

    t = xp.zeros_like(fall)
    for _ in range(3):
        t, over = step(o, d, fall, t)
    busy = (over > 0.01) & (t < limit_m)
    o, d, fall, late = tuple(c[busy] for c in o), tuple(c[busy] for c in d), fall[busy], t[busy]
    for _ in range(_SAFE_STEPS):
        late, _ = step(o, d, fall, late)
    t[busy] = late
    return t


def _choose_layer(ground: Ground, o: Vector3, d: Vector3, t: Array) -> tuple[Array, Array]:
    """Nearest of the two layers at a place where that layer exists."""
    xp = namespace(t)
    outside = _outside(ground, o, d, t)
    answers = []
    for layer, height, possible in (
        (False, ground.road_height, outside < _BORDER_M),
        (True, ground.raised_height, outside > -_BORDER_M),
    ):
        rows_o, rows_d = tuple(c[possible] for c in o), tuple(c[possible] for c in d)
        hit, met = _polish(ground, rows_o, rows_d, t[possible], height)
        exists = ((_outside(ground, rows_o, rows_d, hit) > 0) == layer) & met
        full = xp.full_like(t, xp.inf)
        full[possible] = xp.where(exists, hit, xp.inf)
        spare = xp.full_like(t, xp.inf)
        spare[possible] = xp.where(met, hit, xp.inf)
        answers.append((full, spare))
    (road, spare_road), (top, spare_top) = answers
    best = xp.minimum(road, top)
    # Neither layer exists where it is met: the ray meets the step between them. The farther answer
    # lies behind the kerb's box, and stands for the step in a street's mouth, which has no kerb.
    missing = best == xp.inf
    both = (spare_road < xp.inf) & (spare_top < xp.inf)
    step = xp.where(both, xp.maximum(spare_road, spare_top), xp.minimum(spare_road, spare_top))
    best = xp.where(missing, step, best)
    return best, (top <= road) & ~missing


def _outside(ground: Ground, o: Vector3, d: Vector3, t: Array) -> Array:
    x, y = o[0] + t * d[0], o[1] + t * d[1]
    return ground.outside(ground.laterals(x, y))


def _polish(
    ground: Ground,
    o: Vector3,
    d: Vector3,
    t: Array,
    height: Callable[[Array, Array], Array],
) -> tuple[Array, Array]:
    """Three secant steps from the bounding layer, and whether they ended on the surface."""
    xp = namespace(t)

    def over(t: Array) -> Array:
        return o[2] + t * d[2] - height(o[0] + t * d[0], o[1] + t * d[1])

    def bounded(slope: Array) -> Array:
        # Never steeper than nothing: a ray parallel to the ground must not be thrown away.
        return xp.where(abs(slope) < 2e-3, -2e-3, slope)

    f0 = over(t)
    t1 = t - f0 / bounded(d[2])
    for _ in range(3):
        f1 = over(t1)
        step = t1 - t
        slope = (f1 - f0) / xp.where(abs(step) < 1e-9, 1.0, step)
        move = xp.where(abs(f1) < _TOLERANCE_M, 0.0, f1 / bounded(slope))
        t, f0, t1 = t1, f1, xp.clip(t1 - xp.clip(move, -25.0, 25.0), 0.0, None)
    return t1, abs(over(t1)) < _MET_M
