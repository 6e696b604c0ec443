"""What solids look like: facades, paint, leaves, signs; in the solid's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass

from occ_training.world.arrays import Array, Vector3, cast, namespace
from occ_training.world.noise import band, cell_noise, fade, mix, octaves, stripe, value_noise
from occ_training.world.primitives import Material


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points on solids; all arrays `[N]`.

    Attributes:
        p: Three arrays float64, local coordinates, metres.
        half: Three arrays float64, half extents of the solid.
        axis: int64, 0..2 axis of the face's normal; 3 for curved surfaces.
        side: float64, sign of the normal along that axis.
        u: float64, surface coordinate, metres (horizontal where there is one).
        v: float64, the other one (up where there is one).
        seed: float64, random offset of the solid's texture.
        footprint: float32, size of a pixel on the surface, metres.
        material: int64.
        color: `[3, N]` float32 albedo of the solid.
    """

    p: Vector3
    half: Vector3
    axis: Array
    side: Array
    u: Array
    v: Array
    seed: Array
    footprint: Array
    material: Array
    color: Array

    def take(self, rows: Array) -> SurfacePoints:
        """Some of the points."""
        return SurfacePoints(
            tuple(c[rows] for c in self.p), tuple(c[rows] for c in self.half), self.axis[rows],
            self.side[rows], self.u[rows], self.v[rows], self.seed[rows], self.footprint[rows],
            self.material[rows], self.color[:, rows],
        )  # fmt: skip


def solid_albedo(points: SurfacePoints, table: Array) -> Array:
    """Albedo `[3, N]` float32."""
    xp = namespace(points.u)
    grain = octaves(table, points.u + points.seed, points.v - points.seed, points.footprint)
    out = points.color * (1.0 + 0.22 * grain)
    for material, recipe in _RECIPES.items():
        rows = points.material == int(material)
        if bool(xp.any(rows)):
            out[:, rows] = recipe(points.take(rows), table, out[:, rows], grain[rows])
    return out


def _bricks(q: SurfacePoints, table: Array) -> Array:
    """Change of brightness by bricks of 0.25 x 0.065 m in running bond."""
    xp = namespace(q.u)
    row = xp.floor(q.v / 0.065)
    shifted = q.u + 0.125 * (row - 2 * xp.floor(row / 2))
    fp = q.footprint
    joint = xp.maximum(stripe(q.v, 0.065, 0.01, fp), stripe(shifted, 0.25, 0.01, fp))
    tone = cell_noise(table, shifted / 0.25 + q.seed, row) * fade(0.13, fp)
    return 0.16 * tone - 0.28 * joint


def _facade(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Plaster or brick, window grid with frames and curtains, dirt towards the ground."""
    xp = namespace(q.u)
    fp = q.footprint
    upright = cast(q.axis < 2, "float32")
    height = q.p[2] + q.half[2] - 2.0
    dirt = 0.22 * xp.clip(1.0 - cast(height, "float32") / 2.0, 0.0, 1.0)
    stain = 0.15 * value_noise(table, q.u / 1.9 + q.seed, height / 4.3)
    plaster = cell_noise(table, q.seed, q.seed) > 0
    brick = xp.where(plaster, 0.35, 1.0) * _bricks(q, table)
    color = color * (1.0 + upright * (brick + stain - dirt))
    storey, bay = 3.0, 2.7
    u = q.u / bay + 0.5
    v = (height - 1.0) / storey
    du, dv = (u - xp.floor(u) - 0.5) * bay, (v - xp.floor(v)) * storey
    # No window crosses the roof line.
    room = cast((height > 1.0) & (height < 2 * q.half[2] - 3.0), "float32") * upright
    frame = band(du, -0.78, 0.78, fp) * band(dv, 0.0, 1.66, fp) * room
    glass = band(du, -0.70, 0.70, fp) * band(dv, 0.08, 1.58, fp) * room
    cross = xp.maximum(band(du, -0.03, 0.03, fp), band(dv, 1.05, 1.11, fp))
    drape = value_noise(table, q.u / 0.16 + q.seed, height / 0.55)
    tone = 0.75 + 0.35 * cell_noise(table, u + q.seed, v) + 0.4 * grain + 0.3 * drape
    sheen = 0.10 * xp.clip(cast(dv, "float32"), 0.0, 1.5)
    color = mix(color, (0.74, 0.72, 0.68), frame)
    pane = xp.stack([c * tone + sheen for c in (0.20, 0.23, 0.28)])
    return color + glass * (1.0 - cross) * (pane - color)


def _brick_wall(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    return color * (1.0 + 0.15 * grain + 1.3 * _bricks(q, table))


def _planks(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    fp = q.footprint
    board = cell_noise(table, q.u / 0.16 + q.seed, q.seed) * fade(0.3, fp)
    fibre = value_noise(table, q.u / 0.012, q.v / 0.25 + q.seed) * fade(0.04, fp)
    return color * (1.0 + 0.2 * board + 0.2 * fibre - 0.5 * stripe(q.u, 0.16, 0.012, fp))


def _leaves(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """High contrast at 3-10 cm, darker below."""
    fp = q.footprint
    leaf = value_noise(table, q.u / 0.075 + q.seed, q.v / 0.075) * fade(0.15, fp)
    bunch = value_noise(table, q.u / 0.33, q.v / 0.33 + q.seed) * fade(0.6, fp)
    up = cast(q.p[2] / q.half[2], "float32")
    return color * (0.95 + 0.45 * leaf + 0.30 * bunch + 0.3 * grain + 0.2 * up)


def _bark(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    groove = value_noise(table, q.u / 0.03 + q.seed, q.v / 0.2) * fade(0.06, q.footprint)
    return color * (1.0 + 0.3 * groove + 0.35 * grain)


def _sign(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Coloured face with a pale rim and rows of letter-like cells; grey behind."""
    fp = q.footprint
    front = cast((q.axis == 0) & (q.side < 0), "float32")
    a, b = q.u / q.half[1], q.v / q.half[2]
    rim = 1.0 - band(a, -0.86, 0.86, fp / 0.4) * band(b, -0.86, 0.86, fp / 0.4)
    text = band(a, -0.7, 0.7, fp / 0.4) * band(b, -0.45, 0.45, fp / 0.4)
    letter = cell_noise(table, q.u / 0.045 + q.seed, q.v / 0.06) > 0.1
    color = mix(color, (0.86, 0.86, 0.84), front * rim)
    color = mix(color, (0.90, 0.90, 0.88), front * text * cast(letter, "float32") * fade(0.1, fp))
    return color + (1.0 - front) * ((0.46 + 0.08 * grain) - color)


def _car_body(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Panel lines, dark sill, lights and plates at the ends."""
    xp = namespace(q.u)
    fp = q.footprint
    color = q.color * (1.0 + 0.12 * grain)  # paint is smoother than plaster
    z = cast(q.p[2] / q.half[2], "float32")
    flank, end = cast(q.axis == 1, "float32"), cast(q.axis == 0, "float32")
    lines = xp.maximum(stripe(q.p[0] - 0.1, 1.05, 0.02, fp), band(z, 0.2, 0.26, fp / 0.37))
    color = color * (1.0 - 0.4 * flank * lines)
    color = mix(color, (0.10, 0.10, 0.11), (flank + end) * band(z, -1.1, -0.62, fp / 0.37))
    y = abs(cast(q.p[1] / q.half[1], "float32"))
    lamp = end * band(y, 0.62, 0.94, fp / 0.9) * band(z, 0.15, 0.7, fp / 0.37)
    front = cast(q.side > 0, "float32")
    color = mix(color, (0.90, 0.89, 0.82), lamp * front)
    color = mix(color, (0.62, 0.08, 0.07), lamp * (1.0 - front))
    plate = end * band(y, -1.0, 0.28, fp / 0.9) * band(z, -0.45, -0.12, fp / 0.37)
    color = mix(color, (0.88, 0.88, 0.84), plate)
    letter = cell_noise(table, q.p[1] / 0.035, q.seed) > 0.2
    ink = plate * cast(letter, "float32") * band(z, -0.38, -0.19, fp / 0.37) * fade(0.08, fp)
    return mix(color, (0.08, 0.08, 0.12), ink)


def _car_cabin(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Dark windows with pillars; painted roof."""
    fp = q.footprint
    color = q.color * (1.0 + 0.12 * grain)
    long = q.half[0] > 2.0  # a bus: many windows, high up
    xp = namespace(q.u)
    z = cast(q.p[2] / q.half[2], "float32")
    upright = cast(q.axis < 2, "float32")
    low = xp.where(long, 0.05, -0.75)
    reach = cast(q.half[2], "float32")
    rows = xp.clip(xp.minimum(z - low, 0.72 - z) * reach / fp + 0.5, 0.0, 1.0)
    pitch = xp.where(long, 1.5, 1.02)
    away = abs(q.u - xp.floor(q.u / pitch + 0.5) * pitch)
    pillar = xp.clip((cast(away, "float32") - 0.05) / fp + 0.5, 0.0, 1.0)
    edge = xp.where(q.axis == 1, q.half[0], q.half[1])
    inner = xp.clip((cast(edge - abs(q.u), "float32") - 0.06) / fp + 0.5, 0.0, 1.0)
    side = xp.where(q.axis == 1, pillar, 1.0) * inner
    glass = upright * rows * side
    inside = value_noise(table, q.u / 0.3 + q.seed, q.v / 0.2)
    dark = 0.14 + 0.07 * z + 0.07 * grain + 0.06 * inside
    pane = xp.stack([dark, dark * 1.05, dark * 1.15])
    return color + glass * (pane - color)


def _tyre(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Rubber with a pale hub and spokes on the round face."""
    xp = namespace(q.u)
    r = cast(xp.sqrt(q.p[0] ** 2 + q.p[1] ** 2) / q.half[0], "float32")
    fp = q.footprint / cast(q.half[0], "float32")
    face = cast(q.axis == 2, "float32")
    turn = cast(xp.arctan2(q.p[1], q.p[0]), "float32")
    spokes = 0.7 + 0.3 * xp.cos(5.0 * turn)
    hub = face * band(r, -1.0, 0.62, fp)
    rim = xp.stack([0.62 * spokes, 0.63 * spokes, 0.65 * spokes])
    return color + hub * (rim - color)


def _cloth(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    fold = value_noise(table, q.u / 0.07 + q.seed, q.v / 0.16) * fade(0.14, q.footprint)
    return color * (1.0 + 0.3 * fold)


def _stripes(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Red and white: slanted on boxes, rings on cones."""
    slant = q.p[2] + q.u * cast(q.axis < 2, "float64")
    return mix(color, (0.86, 0.86, 0.84), stripe(slant, 0.36, 0.17, q.footprint))


def _light(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Three lamps of a traffic light, the green one lit."""
    xp = namespace(q.u)
    front = (q.axis == 0) & (q.side < 0)
    for at, lamp in ((0.28, (0.28, 0.06, 0.05)), (0.0, (0.30, 0.22, 0.05)),
                     (-0.28, (0.20, 0.95, 0.45))):  # fmt: skip
        r = cast(xp.sqrt(q.p[1] ** 2 + (q.p[2] - at) ** 2), "float32")
        disc = band(r, -1.0, 0.11, q.footprint) * cast(front, "float32")
        color = mix(color, lamp, disc)
    return color


def _concrete(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    return color * (1.0 + 0.1 * grain - 0.35 * stripe(q.u, 1.0, 0.012, q.footprint))


def _truck(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    """Ribs and a coloured band with a name."""
    fp = q.footprint
    color = color * (1.0 - 0.22 * stripe(q.u, 0.6, 0.04, fp) + 0.08 * grain)
    z = cast(q.p[2] / q.half[2], "float32")
    strip = band(z, -0.1, 0.45, fp) * cast(q.axis < 2, "float32")
    color = mix(color, (0.20, 0.35, 0.55), 0.75 * strip)
    letter = cast(cell_noise(table, q.u / 0.22 + q.seed, q.p[2] / 0.3) > 0.0, "float32")
    return mix(color, (0.90, 0.90, 0.86), letter * band(z, 0.02, 0.32, fp) * strip)


def _roof(q: SurfacePoints, table: Array, color: Array, grain: Array) -> Array:
    tile = cell_noise(table, q.u / 0.25, q.v / 0.3 + q.seed) * fade(0.5, q.footprint)
    return color * (1.0 + 0.15 * tile - 0.3 * stripe(q.v, 0.3, 0.03, q.footprint))


_RECIPES = {
    Material.FACADE: _facade,
    Material.BRICK: _brick_wall,
    Material.PLANKS: _planks,
    Material.LEAVES: _leaves,
    Material.BARK: _bark,
    Material.SIGN: _sign,
    Material.CAR_BODY: _car_body,
    Material.CAR_CABIN: _car_cabin,
    Material.TYRE: _tyre,
    Material.CLOTH: _cloth,
    Material.STRIPES: _stripes,
    Material.LIGHT: _light,
    Material.CONCRETE: _concrete,
    Material.TRUCK: _truck,
    Material.ROOF: _roof,
}
