"""Sun, shadows, sky: from hits to colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from occ_training.world.arrays import (
    Array,
    Backend,
    Vector3,
    along,
    cast,
    dot,
    namespace,
    on_device,
)
from occ_training.world.classes import VEHICLES
from occ_training.world.ground_texture import ground_albedo
from occ_training.world.noise import value_noise
from occ_training.world.primitives import Material, Primitives
from occ_training.world.raycast import SKY, Rays, any_hit, find_pairs
from occ_training.world.road import Ground
from occ_training.world.solid_texture import solid_albedo
from occ_training.world.surface import ground_normal, solid_surface

AMBIENT = 0.35
_SHADOW_TILE = 64
_SHADOW_CELL_M = 0.25
_LIFT_OFF_M = 2e-3


@dataclass(frozen=True, eq=False)
class Looks:
    """Everything that colours need beside the geometry.

    Attributes:
        sun: Unit vector towards the sun, world frame.
        light: Brightness of the scene, 1 = day.
        noise: Lattice of `noise_table`.
        holes: Volume of `foliage_holes`.
        specular: Whether windows reflect the sun.
    """

    sun: npt.NDArray[np.float64]
    light: float
    noise: Array
    holes: Array
    specular: bool = False

    def on(self, backend: Backend) -> Looks:
        """The same on a backend."""
        return replace(self, noise=backend.array(self.noise), holes=backend.array(self.holes))


@dataclass(frozen=True, eq=False)
class Samples:
    """Hits of rays, all `[N]`.

    Attributes:
        direction: World unit vectors.
        distance: Metres, infinity for the sky.
        target: Primitive row, or `SKY`, `ROAD`, `RAISED`.
        point: World points (at the origin for the sky).
        pixel_angle: Angle of a pixel, radians.
    """

    direction: Vector3
    distance: Array
    target: Array
    point: Vector3
    pixel_angle: float


def samples_of(
    origin: Vector3, direction: Vector3, distance: Array, target: Array, pixel_angle: float
) -> Samples:
    """Flatten tiles of hits into samples."""
    xp = namespace(distance)
    finite = xp.where(target == SKY, 0.0, distance)
    point = along(origin, direction, finite)
    flat = lambda c: c.reshape(-1)  # noqa: E731
    return Samples(
        tuple(flat(c) for c in direction), flat(distance), flat(target),
        tuple(flat(c) for c in point), pixel_angle,
    )  # fmt: skip


def shade(
    ground: Ground, prims: Primitives, looks: Looks, s: Samples, known: Array | None = None
) -> tuple[Array, Array]:
    """Colours `[3, N]` float32 (1 = white) of samples, and whether the sun reaches them.

    Args:
        ground: Height field.
        prims: Table in the world frame.
        looks: Light and noise.
        s: The hits.
        known: `[N]` int64, 1 lit, 0 in the shade, -1 to be found out by a shadow ray.
    """
    xp = namespace(s.distance)
    solid, flat, above = s.target >= 0, s.target < SKY, s.target == SKY
    color = xp.empty((3, *s.distance.shape), dtype=xp.float32, **on_device(s.distance))
    color[:, above] = sky(looks, tuple(c[above] for c in s.direction))
    normal = tuple(xp.zeros_like(s.distance) for _ in range(3))
    pixel_m = cast(xp.where(solid | flat, s.distance, 1.0) * s.pixel_angle, "float32")
    for rows, work in ((solid, _solid_rows), (flat, _ground_rows)):
        if bool(xp.any(rows)):
            albedo, n = work(ground, prims, looks, s, rows, pixel_m[rows])
            color[:, rows] = albedo
            for c, part in zip(normal, n, strict=True):
                c[rows] = part
    surface = solid | flat
    facing = dot(normal, tuple(looks.sun))
    toward = surface & (facing > 0)
    if known is None:
        lit = sunlit(prims, looks, s.point, normal, toward)
    else:
        lit = sunlit(prims, looks, s.point, normal, toward & (known < 0)) | (toward & (known > 0))
    lambert = cast(xp.clip(facing, 0.0, 1.0) * lit, "float32")
    ambient = AMBIENT * covered(prims, looks, s.point, flat)
    brightness = xp.where(surface, 1.65 * (ambient + (1 - AMBIENT) * lambert), 1.0)
    color = color * brightness * looks.light
    if looks.specular:
        color = color + _glints(prims, looks, s, normal, lit & solid)
    return color, lit


def _solid_rows(ground, prims, looks, s: Samples, rows, pixel_m) -> tuple[Array, Vector3]:
    direction = tuple(c[rows] for c in s.direction)
    hit = solid_surface(prims, s.target[rows], tuple(c[rows] for c in s.point), direction, pixel_m)
    return solid_albedo(hit.points, looks.noise), hit.normal


def _ground_rows(ground: Ground, prims, looks, s: Samples, rows, pixel_m) -> tuple[Array, Vector3]:
    xp = namespace(s.distance)
    x, y = s.point[0][rows], s.point[1][rows]
    steep = cast(xp.clip(abs(s.direction[2][rows]), 0.03, 1.0), "float32")
    class_id = ground.class_of(ground.laterals(x, y))
    albedo = ground_albedo(ground, looks.noise, x, y, class_id, pixel_m / xp.sqrt(steep))
    return albedo, ground_normal(ground, x, y)


def sunlit(
    prims: Primitives, looks: Looks, point: Vector3, normal: Vector3, wanted: Array
) -> Array:
    """Whether the sun reaches points: one shadow ray each; False where not wanted."""
    namespace(wanted)
    lit = wanted.clone() if hasattr(wanted, "clone") else wanted.copy()
    p = tuple((c + _LIFT_OFF_M * n)[wanted] for c, n in zip(point, normal, strict=True))
    if p[0].shape[0] and len(prims):
        lit[wanted] = ~_blocked(prims, looks.holes, p, looks.sun)
    return lit


def covered(prims: Primitives, looks: Looks, point: Vector3, wanted: Array) -> Array:
    """Share of the sky's light that reaches ground points: little below a vehicle."""
    xp = namespace(wanted)
    share = cast(xp.ones_like(point[0]), "float32")
    vehicle = xp.zeros_like(prims.kind, dtype=xp.bool)
    for class_id in VEHICLES:
        vehicle = vehicle | (prims.class_id == int(class_id))
    if not bool(xp.any(vehicle)) or not bool(xp.any(wanted)):
        return share
    p = tuple(c[wanted] for c in point)
    dark = _blocked(prims.take(vehicle), looks.holes, p, np.array([0.0, 0.0, 1.0]))
    share[wanted] = 1.0 - 0.65 * cast(dark, "float32")
    return share


def _blocked(prims: Primitives, holes: Array, p: Vector3, toward: npt.NDArray) -> Array:
    """Whether a primitive lies between points `[N]` and a far light.

    Points are sorted along a Z curve across the light, so that the rays of a tile are close.
    """
    xp = namespace(p[0])
    side = np.cross(toward, (0.0, 1.0, 0.0))
    side = side / np.linalg.norm(side)
    up = np.cross(side, toward)
    a, b = dot(p, tuple(side)), dot(p, tuple(up))
    order = xp.argsort(_interleaved(a) + 2 * _interleaved(b), stable=True)
    count = order.shape[0]
    tiles = -(-count // _SHADOW_TILE)
    # Yes or no needs no float64 once the numbers are small.
    middle = tuple(float(c.mean()) for c in p)
    p = tuple(cast(c - m, "float32") for c, m in zip(p, middle, strict=True))
    prims = prims.shifted(middle)
    padded = xp.concat([order, order[-1:].repeat(tiles * _SHADOW_TILE - count)])
    origin = tuple(c[padded].reshape(tiles, _SHADOW_TILE) for c in p)
    direction = tuple(xp.full_like(origin[0][:1, :1], float(c)) for c in toward)
    # For the search all rays start at the tile's lowest point: only their spread across counts.
    depth = dot(origin, tuple(toward))
    low = xp.amin(depth, 1)[:, None] - depth
    start = tuple(o + low * float(c) for o, c in zip(origin, toward, strict=True))
    pairs = find_pairs(prims, Rays(start, direction))
    everywhere = xp.ones_like(depth, dtype=xp.bool)
    hit = any_hit(prims, holes, Rays(origin, direction), pairs, everywhere)
    out = xp.zeros_like(p[0], dtype=xp.bool)
    out[padded] = hit.reshape(-1)
    return out


def _interleaved(a: Array) -> Array:
    """Cell number of a coordinate with a zero bit between its 16 bits (Morton order)."""
    xp = namespace(a)
    n = cast(xp.floor(a / _SHADOW_CELL_M), "int64") + (1 << 15)
    n = xp.clip(n, 0, (1 << 16) - 1)
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        n = (n | (n << shift)) & mask
    return n


def sky(looks: Looks, direction: Vector3) -> Array:
    """Gradient and noise clouds `[3, N]` float32 of world directions."""
    xp = namespace(direction[0])
    up = xp.clip(direction[2], 0.0, 1.0)
    reach = 1.0 / (up + 0.12)
    x, y = direction[0] * reach, direction[1] * reach
    cloud = sum(
        gain * value_noise(looks.noise, x * k + 7.0 * k, y * k)
        for gain, k in ((0.5, 0.8), (0.3, 1.9), (0.2, 4.3), (0.1, 9.1))
    )
    cover = xp.clip(0.4 + 1.1 * cloud, 0.0, 1.0) * cast(xp.clip(6.0 * up, 0.0, 1.0), "float32")
    up = cast(xp.sqrt(up), "float32")
    clear = [low + up * (high - low) for low, high in ((0.80, 0.36), (0.86, 0.55), (0.92, 0.86))]
    return xp.stack([c + 0.8 * cover * (0.94 - c) for c in clear])


def _glints(prims, looks: Looks, s: Samples, normal: Vector3, lit: Array) -> Array:
    """Mirror image of the sun in windows: depends on the viewer, on purpose."""
    xp = namespace(s.distance)
    material = prims.material[xp.where(s.target >= 0, s.target, 0)]
    glass = (material == int(Material.FACADE)) | (material == int(Material.CAR_CABIN))
    twice = 2.0 * dot(s.direction, normal)
    mirror = tuple(d - twice * n for d, n in zip(s.direction, normal, strict=True))
    toward = cast(xp.clip(dot(mirror, tuple(looks.sun)), 0.0, 1.0), "float32")
    return 0.6 * toward**12 * cast(glass & lit, "float32")
