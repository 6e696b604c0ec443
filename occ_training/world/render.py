"""Exact camera pictures: colour, depth, distance, class, instance."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from occ_training.world.arrays import NUMPY, Array, Backend, namespace, to_numpy
from occ_training.world.classes import Class
from occ_training.world.config import stream
from occ_training.world.ground_hit import hit_ground
from occ_training.world.light import Looks, samples_of, shade
from occ_training.world.primitives import Material, Primitives
from occ_training.world.raycast import RAISED, ROAD, SKY, Pairs, Rays, find_pairs, nearest_hit
from occ_training.world.rigs import RigCamera
from occ_training.world.scene import Scene
from occ_training.world.tiling import Tiles, lens_tiles

VIEW_M = 150.0
GROUND_LIMIT_M = 400.0
_CONTRAST = 0.08  # of full brightness: neighbouring pixels that differ by more get sub-rays
_LEAVES = -10
_NOISE = 1.5 / 255.0
_EXPOSURE = 0.02


@dataclass(frozen=True, eq=False)
class CameraRender:
    """One exact picture.

    Attributes:
        camera: Which camera.
        time_s: Time of exposure.
        T_world_cam: `[4, 4]` pose of the optical frame.
        rgb: `[H, W, 3]` uint8, None if colour was not asked for.
        depth_m: `[H, W]` float32 along the optical axis, infinity for the sky.
        distance_m: `[H, W]` float32 along the ray.
        class_id: `[H, W]` uint8 internal ids; 0 outside a fisheye's image circle.
        instance_id: `[H, W]` uint16, 0 for stuff.
        body: `[H, W]` int32 index of the moving body that is seen, 0 for the static world.
    """

    camera: RigCamera
    time_s: float
    T_world_cam: npt.NDArray[np.float64]
    rgb: npt.NDArray[np.uint8] | None
    depth_m: npt.NDArray[np.float32]
    distance_m: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.uint8]
    instance_id: npt.NDArray[np.uint16]
    body: npt.NDArray[np.int32]

    @property
    def surface(self) -> npt.NDArray[np.bool_]:
        """`[H, W]` pixels that see the world: neither sky nor the ego car nor outside the lens."""
        return np.isfinite(self.depth_m) & (self.class_id != Class.EGO)


def cast_rays(scene: Scene, prims: Primitives, holes: Array, rays: Rays) -> tuple[Array, Array]:
    """Distance and target of tiles of rays."""
    distance, target = _hit_ground(scene, rays)
    if len(prims):
        nearest_hit(prims, holes, rays, find_pairs(prims, rays), distance, target)
    return distance, target


def _hit_ground(scene: Scene, rays: Rays) -> tuple[Array, Array]:
    xp = namespace(rays.direction[0])
    distance, raised = hit_ground(scene.ground, rays.origin, rays.direction, GROUND_LIMIT_M)
    target = xp.where(raised, RAISED, ROAD)
    return distance, xp.where(distance < xp.inf, target, SKY)


def _world_rays(T_world_cam: npt.NDArray, ray: npt.NDArray, backend: Backend) -> Rays:
    world = ray @ T_world_cam[:3, :3].T
    direction = tuple(backend.array(np.ascontiguousarray(world[..., i])) for i in range(3))
    origin = tuple(backend.array(T_world_cam[None, i, 3:4].astype(np.float64)) for i in range(3))
    return Rays(origin, direction)


def render_camera(
    scene: Scene,
    camera: RigCamera,
    t: float,
    *,
    colour: bool = True,
    backend: Backend = NUMPY,
) -> CameraRender:
    """Render one camera.

    Args:
        scene: The world.
        camera: One of `scene.rig.cameras`, or any other camera on the ego car.
        t: Time of exposure, seconds (the frame's time plus `camera.delay_s`).
        colour: Whether to compute colours; depth and classes alone are several times faster.
        backend: NumPy (the reference) or torch on a device.
    """
    T_world_cam = scene.pose(t) @ camera.T_base_cam
    host = scene.snapshot(t, T_world_cam[:3, 3], VIEW_M, with_ego=True)
    tiles = lens_tiles(camera.lens)
    prims, looks = host.on(backend), scene.looks.on(backend)
    rays = _world_rays(T_world_cam, tiles.ray, backend)
    distance, target = cast_rays(scene, prims, looks.holes, rays)
    geometry = _labels(scene, host, camera, tiles, T_world_cam, distance, target)
    rgb = None
    if colour:
        picture = _colours(scene, prims, looks, camera, tiles, rays, T_world_cam, distance, target)
        rgb = _expose(scene, camera, t, picture)
    return CameraRender(camera, t, T_world_cam, rgb, *geometry)


def _labels(scene, prims: Primitives, camera, tiles: Tiles, T_world_cam, distance, target):
    """Depth, distance, class, instance and body images from the centre rays."""
    distance, target = to_numpy(distance), to_numpy(target)
    lens, keep = camera.lens, tiles.valid
    pixel, distance, target = tiles.index[keep], distance[keep], target[keep]
    ray = tiles.ray[keep]
    solid = target >= 0
    row = np.where(solid, target, 0)
    empty = np.zeros(1, dtype=np.int64)
    pick = lambda column: (column if len(column) else empty)[row] * solid  # noqa: E731
    class_id = pick(prims.class_id)
    flat = target < SKY
    world = ray[flat] @ T_world_cam[:3, :3].T * distance[flat, None] + T_world_cam[:3, 3]
    class_id[flat] = scene.ground.class_of(scene.ground.laterals(world[:, 0], world[:, 1]))
    class_id[target == SKY] = Class.SKY

    def image(values: npt.NDArray, fill: float, dtype: type) -> npt.NDArray:
        out = np.full(lens.height * lens.width, fill, dtype=dtype)
        out[pixel] = values
        return out.reshape(lens.height, lens.width)

    depth = image(distance * ray[:, 2], np.inf, np.float32)
    return (
        depth, image(distance, np.inf, np.float32), image(class_id, 0, np.uint8),
        image(pick(prims.instance_id), 0, np.uint16), image(pick(prims.body), 0, np.int32),
    )  # fmt: skip


def _colours(scene, prims, looks: Looks, camera, tiles, rays, T_world_cam, distance, target):
    """`[3, H, W]` float32: the centre ray's colour, the mean of sub-rays where it changes.

    Inside a surface the texture is already filtered to the pixel, so that sub-rays would return
    the same mean; they are shot where a neighbouring pixel sees another solid, a shadow's border
    or a contrast.
    """
    xp = namespace(distance)
    lens = camera.lens
    samples = samples_of(rays.origin, rays.direction, distance, target, lens.pixel_angle)
    color, lit = shade(scene.ground, prims, looks, samples)
    pixel = tiles.index[tiles.valid]
    keep = xp.asarray(tiles.valid.reshape(-1)) if xp is np else _like(color, tiles.valid).view(-1)

    def image(values: Array, fill: float) -> npt.NDArray:
        values = to_numpy(values)
        out = np.full((*values.shape[:-1], lens.height * lens.width), fill, dtype=values.dtype)
        out[..., pixel] = values
        return out.reshape(*values.shape[:-1], lens.height, lens.width)

    picture = image(color[:, keep], 0.0)
    target_image = image(target.reshape(-1)[keep], SKY)
    lit_image = image(lit[keep], False)
    uneven = _uneven(_outlines(prims, target_image), lit_image, picture.mean(0))
    seen = np.zeros(lens.height * lens.width, dtype=np.bool_)
    seen[pixel] = True
    uneven &= seen.reshape(uneven.shape)
    v, u = np.nonzero(uneven)
    if len(v):
        fine = _sub_rays(scene, prims, looks, camera, T_world_cam, (u, v), target_image, lit_image)
        picture[:, v, u] = fine
    return picture


def _like(reference: Array, values: npt.NDArray) -> Array:
    import torch

    return torch.from_numpy(values).to(reference.device)


def _outlines(prims: Primitives, target: npt.NDArray) -> npt.NDArray:
    """Targets with all leaves as one: between two clumps of a crown there is no outline."""
    if not len(prims):
        return target
    leaves = to_numpy(prims.material) == Material.LEAVES
    return np.where((target >= 0) & leaves[np.maximum(target, 0)], _LEAVES, target)


def _uneven(target: npt.NDArray, lit: npt.NDArray, grey: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Pixels that differ from one of their four neighbours."""
    out = np.zeros(target.shape, dtype=np.bool_)
    for axis in (0, 1):
        a = [slice(None)] * 2
        b = [slice(None)] * 2
        a[axis], b[axis] = slice(1, None), slice(None, -1)
        a, b = tuple(a), tuple(b)
        edge = (target[a] != target[b]) | ((lit[a] != lit[b]) & (target[a] != _LEAVES))
        edge |= abs(grey[a] - grey[b]) > _CONTRAST
        out[a] |= edge
        out[b] |= edge
    return out


def _sub_rays(
    scene, prims, looks, camera, T_world_cam, pixels, target_image, lit_image
) -> npt.NDArray:
    """Mean colours `[3, n]` of n x n sub-rays of some pixels.

    A sub-ray is tested against what the pixel and its eight neighbours see; its shadow ray is
    spared where those agree on solid and light.
    """
    n, lens = scene.rig.sub_rays, camera.lens
    u, v = pixels
    step = (np.arange(n) + 0.5) / n - 0.5
    du, dv = (a.reshape(-1) for a in np.meshgrid(step, step))
    uv = np.stack((u[:, None] + du, v[:, None] + dv), -1)
    ray, seen = lens.rays(uv)
    ray = np.where(seen[..., None], ray, lens.rays(np.stack((u, v), -1) * 1.0)[0][:, None])
    backend = _backend_of(looks.noise)
    rays = _world_rays(T_world_cam, ray, backend)
    around = _around(target_image, u, v)
    light = _around(lit_image, u, v)
    settled = (around == around[:, :1]).all(1) & (light == light[:, :1]).all(1)
    known = np.where(settled, light[:, 0], -1).astype(np.int64)[:, None].repeat(n * n, 1)
    near = _neighbours(around)
    distance, target = _hit_ground(scene, rays)
    if len(prims):
        nearest_hit(prims, looks.holes, rays, _on(near, backend), distance, target)
    samples = samples_of(rays.origin, rays.direction, distance, target, lens.pixel_angle / n)
    known = backend.array(known.reshape(-1))
    color, _ = shade(scene.ground, prims, looks, samples, known)
    return to_numpy(color).reshape(3, len(u), n * n).mean(-1)


def _around(image: npt.NDArray, u: npt.NDArray, v: npt.NDArray) -> npt.NDArray:
    """`[n, 9]` values of the 3 x 3 pixels around some pixels."""
    padded = np.pad(image, 1, mode="edge")
    return np.stack([padded[v + j, u + i] for j in range(3) for i in range(3)], -1)


def _neighbours(around: npt.NDArray) -> Pairs:
    """(pixel, primitive) pairs: every distinct primitive in the 3 x 3 pixels around."""
    around = np.sort(around, axis=-1)
    fresh = np.ones(around.shape, dtype=np.bool_)
    fresh[:, 1:] = around[:, 1:] != around[:, :-1]
    tile, column = np.nonzero(fresh & (around >= 0))
    return Pairs(tile, around[tile, column], np.zeros(len(tile), dtype=np.float32))


def _backend_of(array: Array) -> Backend:
    xp = namespace(array)
    return NUMPY if xp is np else Backend(xp, str(array.device))


def _on(pairs: Pairs, backend: Backend) -> Pairs:
    return Pairs(*(backend.array(c) for c in (pairs.tile, pairs.prim, pairs.near)))


def _expose(scene: Scene, camera: RigCamera, t: float, picture: npt.NDArray) -> npt.NDArray:
    """Exposure of the frame, sensor noise, 8 bits."""
    if scene.config.noise:
        # One exposure for all cameras of a frame, as a stereo pair is triggered together.
        gain = stream(scene.config.seed, "exposure", scene.stamp_ns(t)).uniform(-1, 1)
        rng = stream(scene.config.seed, "noise", scene.stamp_ns(t), crc32(camera.name.encode()))
        noise = rng.standard_normal(picture.shape, dtype=np.float32)
        picture = picture * (1.0 + _EXPOSURE * gain) + _NOISE * noise
    levels = (picture * 255.0 + 0.5).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
