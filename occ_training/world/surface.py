"""From a hit to what was hit: class, instance, normal and coordinates on the surface."""

from __future__ import annotations

from dataclasses import dataclass

from occ_training.world.arrays import Array, Vector3, cast, dot, namespace
from occ_training.world.primitives import Kind, Material, Primitives
from occ_training.world.road import Ground
from occ_training.world.solid_texture import SurfacePoints


@dataclass(frozen=True, eq=False)
class Solid:
    """Hits on primitives, `[N]`.

    Attributes:
        points: Surface coordinates and looks.
        normal: World frame, three arrays, towards the viewer.
        foliage: Whether the surface is leaves, which let some light through.
    """

    points: SurfacePoints
    normal: Vector3
    foliage: Array


def solid_surface(
    prims: Primitives, prim: Array, p: Vector3, direction: Vector3, pixel_m: Array
) -> Solid:
    """Surface of hits on primitives.

    Args:
        prims: Table in the world frame.
        prim: Row of every hit, int64 `[N]`.
        p: World points, three float64 `[N]`.
        direction: World direction of the rays.
        pixel_m: Width of a pixel at the hit, across the ray, metres, float32 `[N]`.
    """
    xp = namespace(prim)
    R, center = prims.rotation[prim], prims.center[prim]
    v = tuple(p[i] - center[:, i] for i in range(3))
    q = tuple(R[:, 0, i] * v[0] + R[:, 1, i] * v[1] + R[:, 2, i] * v[2] for i in range(3))
    half = tuple(prims.half[prim][:, i] for i in range(3))
    kind = prims.kind[prim]
    axis, side, local = _normals(kind, q, half)
    n = tuple(R[:, i, 0] * local[0] + R[:, i, 1] * local[1] + R[:, i, 2] * local[2]
              for i in range(3))  # fmt: skip
    facing = dot(n, direction)
    flip = xp.where(facing > 0, -1.0, 1.0)  # the inner side of a crown, seen through a hole
    n = tuple(flip * c for c in n)
    u, w = _coordinates(kind, axis, q, half)
    footprint = pixel_m / xp.sqrt(xp.clip(cast(abs(facing), "float32"), 0.05, 1.0))
    color = xp.stack([cast(prims.color[prim][:, i], "float32") for i in range(3)])
    points = SurfacePoints(q, half, axis, side, u, w, prims.seed[prim][:, 0], footprint,
                           prims.material[prim], color)  # fmt: skip
    return Solid(points, n, prims.material[prim] == int(Material.LEAVES))


def _normals(kind: Array, q: Vector3, half: Vector3) -> tuple[Array, Array, Vector3]:
    """Face axis (3 = curved), its sign, and the outward normal in the solid's frame."""
    xp = namespace(q[0])
    off = [abs(q[i]) - half[i] for i in range(3)]
    axis = xp.where(off[1] > off[0], 1, 0)
    axis = xp.where(off[2] > xp.maximum(off[0], off[1]), 2, axis)
    is_box = (kind == int(Kind.BOX)) | (kind == int(Kind.PICKETS))
    is_round = (kind == int(Kind.CYLINDER)) | (kind == int(Kind.CONE))
    cap = is_round & (off[2] > -1e-6)
    axis = xp.where(is_box, axis, xp.where(cap, 2, 3))
    picked = xp.where(axis == 0, q[0], xp.where(axis == 1, q[1], q[2]))
    side = xp.where(picked < 0, -1.0, 1.0)
    # Curved: gradient of the quadric; a cylinder's has no z, a cone's leans by its slope.
    lean = xp.where(kind == int(Kind.CONE), 0.5 * half[0] / half[2], 0.0)
    rho = xp.sqrt(q[0] ** 2 + q[1] ** 2) + 1e-9
    gx = xp.where(is_round, q[0] / rho, q[0] / half[0] ** 2)
    gy = xp.where(is_round, q[1] / rho, q[1] / half[1] ** 2)
    gz = xp.where(is_round, lean, q[2] / half[2] ** 2)
    length = xp.sqrt(gx * gx + gy * gy + gz * gz) + 1e-12
    curved = axis == 3
    normal = tuple(
        xp.where(curved, g / length, xp.where(axis == i, side, 0.0))
        for i, g in enumerate((gx, gy, gz))
    )
    return axis, side, normal


def _coordinates(kind: Array, axis: Array, q: Vector3, half: Vector3) -> tuple[Array, Array]:
    """Metres along the surface: on faces the other two axes, on round ones the arc and z."""
    xp = namespace(q[0])
    u = xp.where(axis == 0, q[1], q[0])
    v = xp.where(axis == 2, q[1], q[2])
    is_round = (kind == int(Kind.CYLINDER)) | (kind == int(Kind.CONE))
    arc = xp.arctan2(q[1], q[0]) * half[0]
    u = xp.where(is_round & (axis == 3), arc, u)
    # Ellipsoids: the plane most parallel to the surface; seams vanish in leaves.
    free = (axis == 3) & ~is_round
    steep = [abs(q[i]) / half[i] ** 2 for i in range(3)]
    from_x = (steep[0] > steep[1]) & (steep[0] > steep[2])
    from_z = (steep[2] >= steep[0]) & (steep[2] > steep[1])
    u = xp.where(free & from_x, q[1], u)
    v = xp.where(free & from_z, q[1], v)
    return u, v


def ground_normal(ground: Ground, x: Array, y: Array) -> Vector3:
    """Normal of the long wave: crown and bumps are too flat to be seen in the shading."""
    xp = namespace(x)
    kx, ky, phase = ground.wave
    slope = ground.amplitude_m * xp.cos(kx * x + ky * y + phase)
    gx, gy = -kx * slope, -ky * slope
    length = xp.sqrt(gx * gx + gy * gy + 1.0)
    return gx / length, gy / length, 1.0 / length
