"""Paving, lane marks and grass, in street coordinates."""

from __future__ import annotations

from occ_training.world.arrays import Array, cast, namespace, on_device
from occ_training.world.classes import Class
from occ_training.world.noise import band, cell_noise, fade, mix, octaves, stripe, value_noise
from occ_training.world.road import Ground, Strip

_PAINT = (0.80, 0.80, 0.77)
_MARK_M = 0.12


def ground_albedo(
    ground: Ground, table: Array, x: Array, y: Array, class_id: Array, footprint: Array
) -> Array:
    """Albedo `[3, N]` float32 of ground points.

    Args:
        ground: Streets.
        table: Noise lattice.
        x: World x, metres, float64 `[N]`.
        y: World y.
        class_id: Ground class `[N]` int64.
        footprint: Pixel size on the ground, metres, float32 `[N]`.
    """
    xp = namespace(x)
    out = xp.zeros((3, *x.shape), dtype=xp.float32, **on_device(x))
    grain = octaves(table, x, y, footprint)
    for one, recipe in _RECIPES.items():
        rows = class_id == int(one)
        if bool(xp.any(rows)):
            out[:, rows] = recipe(ground, table, x[rows], y[rows], footprint[rows], grain[rows])
    return out


def _tint(grey: Array, color: tuple[float, float, float]) -> Array:
    return namespace(grey).stack([grey * c for c in color])


def _asphalt(table: Array, x: Array, y: Array, footprint: Array, grain: Array) -> Array:
    """Grain, repaired patches of 1-4 m, cracks along zero lines of a slow noise."""
    xp = namespace(x)
    patch = xp.clip(6.0 * value_noise(table, x / 4.1, y / 4.1 + 9.5) - 2.0, 0.0, 1.0)
    slow = value_noise(table, x / 1.7 + 31.0, y / 1.7)
    crack = xp.clip(1.0 - abs(slow) * 45.0, 0.0, 1.0) * fade(0.25, footprint)
    speckle = cell_noise(table, x / 0.025, y / 0.025) * fade(0.06, footprint)
    level = 1.0 + 0.24 * grain + 0.10 * speckle - 0.14 * patch - 0.35 * crack
    return 0.34 * level


def _road(ground: Ground, table: Array, x: Array, y: Array, fp: Array, grain: Array) -> Array:
    xp = namespace(x)
    main = ground.strips[0]
    grey = _asphalt(table, x, y, fp, grain)
    d = main.line.lateral(x, y)
    s = main.line.station(x, y)
    # Dark trace of dripping oil in the middle of every lane, strongest where cars wait.
    lane = d / main.lane_m - xp.floor(d / main.lane_m) - 0.5
    grey = grey * (1.0 - 0.10 * xp.clip(1.0 - 5.0 * abs(cast(lane, "float32")), 0.0, 1.0))
    grey = _manholes(table, d, s, main, grey)
    color = _tint(grey, (1.0, 1.0, 1.03))
    on_main = main.outside(d) < 0
    crossing = xp.zeros_like(fp)
    walks = xp.zeros_like(fp)
    for strip in ground.strips[1:]:
        dc = strip.line.lateral(x, y)
        crossing = xp.maximum(crossing, cast(abs(dc) < strip.half_m + 1.0, "float32"))
        walks = xp.maximum(walks, _crosswalk(abs(dc) - strip.half_m, d, main, fp))
    lines = xp.maximum(_lane_lines(d, s, main, fp) * (1.0 - crossing), walks)
    worn = 0.86 + 0.14 * xp.clip(2.0 + 3.0 * grain, 0.0, 1.0)
    return mix(color, _PAINT, lines * worn * cast(on_main, "float32"))


def _lane_lines(d: Array, s: Array, main: Strip, fp: Array) -> Array:
    """Dashes of 3 m with gaps of 6 m between lanes, solid lines at the edges."""
    xp = namespace(d)
    # Where the ground is seen at a grazing angle marks are long across the pixel: half footprint.
    dash = stripe(s, 9.0, 3.0, fp)
    lines = xp.zeros_like(fp)
    for k in range(-(main.lanes // 2) + 1, main.lanes // 2):
        at = k * main.lane_m
        solid = k == 0 and main.lanes >= 4
        line = band(d, at - _MARK_M / 2, at + _MARK_M / 2, 0.5 * fp)
        lines = xp.maximum(lines, line if solid else line * dash)
    edge = main.half_m - 0.12
    return xp.maximum(lines, band(abs(d), edge - _MARK_M / 2, edge + _MARK_M / 2, 0.5 * fp))


def _crosswalk(beyond: Array, d: Array, main: Strip, fp: Array) -> Array:
    """Zebra of 3 m before a crossing and the stop line of the lanes that end there."""
    xp = namespace(d)
    bars = stripe(d + 0.25, 1.0, 0.5, fp) * band(beyond, 1.2, 4.2, fp)
    stop = band(beyond, 5.0, 5.4, 0.5 * fp)
    return xp.maximum(bars, stop) * band(abs(d), -1.0, main.half_m - 0.3, fp)


def _manholes(table: Array, d: Array, s: Array, main: Strip, grey: Array) -> Array:
    xp = namespace(d)
    cell_s, cell_d = s / 11.0, d / main.lane_m
    there = cell_noise(table, cell_s, cell_d) > 0.35
    off_s = (cell_s - xp.floor(cell_s) - 0.5) * 11.0
    off_d = (cell_d - xp.floor(cell_d) - 0.3) * main.lane_m
    r = xp.sqrt(off_s**2 + off_d**2)
    lid = cast(there & (r < 0.34), "float32")
    rim = cast(there & (r < 0.40), "float32") - lid
    return grey * (1.0 - 0.35 * lid + 0.45 * rim)


def _parking(ground: Ground, table: Array, x: Array, y: Array, fp: Array, grain: Array) -> Array:
    main = ground.strips[0]
    s, d = main.line.station(x, y), main.line.lateral(x, y)
    joints = namespace(x).maximum(stripe(s, 0.2, 0.015, fp), stripe(d, 0.1, 0.012, fp))
    stone = cell_noise(table, s / 0.2, d / 0.1) * fade(0.4, fp)
    grey = 0.36 * (1.0 + 0.13 * grain + 0.14 * stone - 0.35 * joints)
    bays = stripe(s, 5.8, 0.1, 0.5 * fp)
    return mix(_tint(grey, (1.05, 0.98, 0.92)), _PAINT, 0.8 * bays)


def _sidewalk(ground: Ground, table: Array, x: Array, y: Array, fp: Array, grain: Array) -> Array:
    xp = namespace(x)
    # Slabs follow whichever street is near, so that joints never swim.
    laterals = ground.laterals(x, y)
    s, d = ground.strips[0].line.station(x, y), laterals[0]
    joints = xp.maximum(stripe(s, 0.42, 0.014, fp), stripe(d, 0.42, 0.014, fp))
    slab = cell_noise(table, s / 0.42, d / 0.42) * fade(0.8, fp)
    grey = 0.47 * (1.0 + 0.13 * grain + 0.10 * slab - 0.45 * joints)
    return _tint(grey, (1.0, 0.98, 0.94))


def _terrain(ground: Ground, table: Array, x: Array, y: Array, fp: Array, grain: Array) -> Array:
    xp = namespace(x)
    soil = xp.clip(1.8 * value_noise(table, x / 2.3, y / 2.3) - 0.25, 0.0, 1.0)
    blades = value_noise(table, x / 0.045, y / 0.045) * fade(0.09, fp)
    level = 1.0 + 0.25 * grain + 0.25 * blades
    green = xp.stack([level * c for c in (0.24, 0.34, 0.13)])
    brown = xp.stack([level * c for c in (0.36, 0.29, 0.20)])
    return green + soil * (brown - green)


def _other(ground: Ground, table: Array, x: Array, y: Array, fp: Array, grain: Array) -> Array:
    """Tram bed: concrete with two rails."""
    d = ground.strips[0].line.lateral(x, y)
    s = ground.strips[0].line.station(x, y)
    rails = band(abs(abs(d) - 0.72), -1.0, 0.05, 0.5 * fp)
    joints = stripe(s, 1.2, 0.03, fp)
    grey = 0.42 * (1.0 + 0.13 * grain - 0.3 * joints)
    return mix(_tint(grey, (1.0, 0.97, 0.92)), (0.20, 0.19, 0.19), rails)


_RECIPES = {
    Class.ROAD: _road,
    Class.PARKING: _parking,
    Class.SIDEWALK: _sidewalk,
    Class.TERRAIN: _terrain,
    Class.OTHER_GROUND: _other,
}
