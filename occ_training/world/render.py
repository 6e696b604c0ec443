"""Exact camera pictures: colour, depth, distance, class, instance."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from occ_training.world.antialias import colours
from occ_training.world.arrays import NUMPY, Backend, to_numpy
from occ_training.world.classes import Class
from occ_training.world.config import stream
from occ_training.world.primitives import Primitives
from occ_training.world.raycast import SKY
from occ_training.world.scene import Scene
from occ_training.world.sensors import RigCamera
from occ_training.world.tiling import Tiles, lens_tiles
from occ_training.world.view import View, cast_rays

VIEW_M = 150.0
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
    view = View(
        scene.ground, host.on(backend), scene.looks.on(backend), camera.lens, T_world_cam,
        scene.rig.sub_rays, backend,
    )  # fmt: skip
    rays = view.rays(tiles.ray)
    distance, target = cast_rays(scene.ground, view.prims, view.looks.holes, rays)
    geometry = _labels(scene, host, camera, tiles, T_world_cam, distance, target)
    rgb = None
    if colour:
        rgb = _expose(scene, camera, t, colours(view, tiles, rays, distance, target))
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
