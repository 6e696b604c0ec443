"""Exact images of a street of boxes: one ray per pixel, four on the edges of things."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import inverse
from occ_training.world.box_street import Street
from occ_training.world.box_textures import lane_marks, noise_table, shade
from occ_training.world.boxes import Box, intersect, pixel_window, shadowed

Array = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

TO_SUN: Array = np.array([-0.40, -0.42, 0.815])  # behind the robot on its right, unit length
AMBIENT = 0.38
SKY_LOW, SKY_HIGH = np.array([0.80, 0.87, 0.94]), np.array([0.42, 0.62, 0.90])
NOTHING = -1
SUBPIXELS = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))


@dataclass(frozen=True, eq=False)
class View:
    """What one camera sees.

    Attributes:
        image: `[h, w, 3]` uint8 RGB.
        depth_m: `[h, w]` float32 depth along the optical axis, infinity on the sky.
        label: `[h, w]` uint8 class ids, 0 on the sky.
    """

    image: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Eye:
    """A pinhole camera in the world, and the windows in which it sees the boxes."""

    street: Street
    K: Matrix
    T_world_cam: Matrix
    windows: tuple[tuple[int, int, int, int] | None, ...]
    table: Array

    def directions(self, u: Array, v: Array) -> Array:
        """Rays of pixels in the world; length such that the ray parameter is the depth."""
        x, y = (u - self.K[0, 2]) / self.K[0, 0], (v - self.K[1, 2]) / self.K[1, 1]
        return np.stack([x, y, np.ones_like(x)], -1) @ self.T_world_cam[:3, :3].T


def render(street: Street, K: Matrix, T_world_cam: Matrix, width: int, height: int) -> View:
    """Image, depth and classes that a camera sees.

    Args:
        street: The scene.
        K: `[3, 3]` intrinsics, pixels; pixel centres are at integers.
        T_world_cam: `[4, 4]` pose of the optical frame in the world, metres.
        width: Image width, pixels.
        height: Image height, pixels.
    """
    T_cam_world = inverse(T_world_cam)
    windows = tuple(pixel_window(box, K, T_cam_world, width, height) for box in street.boxes)
    eye = _Eye(street, K, T_world_cam, windows, noise_table(street.seed))
    v, u = (a.ravel().astype(np.float64) for a in np.indices((height, width)))
    rays = eye.directions(u, v)
    depth, which, axis = _cast(eye, u, v, rays)
    color = _color(eye, rays, depth, which, axis)

    edge = np.flatnonzero(_edges(which.reshape(height, width)))
    parts = []
    for du, dv in SUBPIXELS:
        finer = eye.directions(u[edge] + du, v[edge] + dv)
        parts.append(_color(eye, finer, *_cast(eye, u[edge] + du, v[edge] + dv, finer)))
    color[edge] = np.mean(parts, axis=0)

    labels = np.array([*(box.label for box in street.boxes), 0], np.uint8)  # the last: nothing
    return View(
        image=np.round(255 * color.clip(0, 1)).astype(np.uint8).reshape(height, width, 3),
        depth_m=depth.astype(np.float32).reshape(height, width),
        label=labels[which].reshape(height, width),
    )


def _cast(
    eye: _Eye, u: Array, v: Array, rays: Array
) -> tuple[Array, npt.NDArray[np.int16], npt.NDArray[np.int8]]:
    """Depth, index of the nearest box and axis of its face for every ray."""
    depth = np.full(len(u), np.inf)
    which = np.full(len(u), NOTHING, np.int16)
    axis = np.zeros(len(u), np.int8)
    origin = eye.T_world_cam[:3, 3]
    for index, (box, window) in enumerate(zip(eye.street.boxes, eye.windows, strict=True)):
        if window is None:
            continue
        u0, v0, u1, v1 = window
        chosen = np.flatnonzero((u >= u0) & (u < u1) & (v >= v0) & (v < v1))
        t, face = intersect(box, origin, rays[chosen])
        nearer = t < depth[chosen]
        chosen = chosen[nearer]
        depth[chosen], axis[chosen], which[chosen] = t[nearer], face[nearer], index
    return depth, which, axis


def _color(eye: _Eye, rays: Array, depth: Array, which: npt.NDArray, axis: npt.NDArray) -> Array:
    """Colours 0..1 of hits, `[n, 3]`: albedo times texture times light; the sky is a gradient."""
    up = np.clip(3 * rays[:, 2:] / np.linalg.norm(rays, axis=-1, keepdims=True), 0, 1)
    color = SKY_LOW + up * (SKY_HIGH - SKY_LOW)
    normal, points = np.zeros_like(rays), np.zeros_like(rays)
    lamp = np.zeros(len(rays), np.bool_)
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], np.arange(len(eye.street.boxes) + 1))
    for index in np.flatnonzero(np.diff(ends)):
        box, hit = eye.street.boxes[index], order[ends[index] : ends[index + 1]]
        color[hit], normal[hit], points[hit] = _surface(eye, box, rays[hit], depth[hit], axis[hit])
        lamp[hit] = box.texture == "marked"  # shines, so that its colour can be looked for
    lit = np.flatnonzero((which != NOTHING) & ~lamp)
    facing = np.clip(normal[lit] @ TO_SUN, 0, 1)
    bright = facing > 0
    above = points[lit[bright]] + 1e-3 * normal[lit[bright]]
    facing[bright] *= ~shadowed(eye.street.casters, above, TO_SUN)
    color[lit] *= (AMBIENT + (1 - AMBIENT) * facing)[:, None]
    return color


def _surface(
    eye: _Eye, box: Box, rays: Array, depth: Array, axis: npt.NDArray
) -> tuple[Array, Array, Array]:
    """Albedo, outward normal and position in the world of hits on one box."""
    points = eye.T_world_cam[:3, 3] + depth[:, None] * rays
    T_box_world = inverse(box.pose)
    local = points @ T_box_world[:3, :3].T + T_box_world[:3, 3]
    sign = np.sign(local[np.arange(len(axis)), axis])
    normal = (np.eye(3)[axis] * sign[:, None]) @ T_box_world[:3, :3]
    # A pixel's footprint grows with depth and with the slant of the surface.
    cosine = np.abs((normal * rays).sum(-1)) / np.linalg.norm(rays, axis=-1)
    pixel_m = depth / eye.K[0, 0] / np.maximum(cosine, 0.02)
    u = np.where(axis == 0, local[:, 1], local[:, 0]) + box.half_m[0]
    v = np.where(axis == 2, local[:, 1], local[:, 2]) + box.half_m[2]
    # Faces and boxes start at places of their own in the one noise table.
    shift = 17.3 * axis + 5.1 * box.center_m[0]
    factor = shade(box.texture, u + shift, v, pixel_m, eye.table)
    albedo = np.asarray(box.albedo) * factor[:, None]
    if box.texture == "asphalt":
        paint = lane_marks(points[:, 0], points[:, 1], eye.street.center_line_y_m)
        albedo[paint] = 0.85 * factor[paint, None]
    return albedo, normal, points


def _edges(which: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Pixels with another thing to the right, left, above or below."""
    edge = np.zeros(which.shape, np.bool_)
    across, down = which[:, 1:] != which[:, :-1], which[1:] != which[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
