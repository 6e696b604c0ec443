"""Spinning scanners: every column has its own time, place and moving targets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import inverse
from occ_training.world.config import stream
from occ_training.world.ground_texture import ground_albedo
from occ_training.world.primitives import Primitives
from occ_training.world.raycast import Rays, find_pairs, nearest_hit
from occ_training.world.scene import Scene
from occ_training.world.sensors import Lidar
from occ_training.world.tiling import Tiles, tiles_of
from occ_training.world.view import cast_rays

FloatArray = npt.NDArray[np.float64]
_SLACK_M = 2.0  # how far a moving thing and the car can come during a turn


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """Returns of one turn, `[N]`, ring by ring.

    Attributes:
        time_s: The sweep's stamp.
        points: `[N, 3]` float64 in the scanner's frame at each column's own time, metres: what the
            scanner measures while it moves.
        world: `[N, 3]` the same points in the world.
        origin: `[N, 3]` where each beam started, world frame.
        reflectance: `[N]` float32 0..0.99.
        ring: `[N]` uint16, 0 = lowest.
        offset_s: `[N]` float32 time of the column against the stamp.
        class_id: `[N]` uint8.
        instance_id: `[N]` uint16.
        body: `[N]` int32 moving body that was hit, 0 for the static world.
        T_world_lidar: `[4, 4]` scanner at the stamp.
    """

    time_s: float
    points: FloatArray
    world: FloatArray
    origin: FloatArray
    reflectance: npt.NDArray[np.float32]
    ring: npt.NDArray[np.uint16]
    offset_s: npt.NDArray[np.float32]
    class_id: npt.NDArray[np.uint8]
    instance_id: npt.NDArray[np.uint16]
    body: npt.NDArray[np.int32]
    T_world_lidar: FloatArray

    @property
    def corrected(self) -> FloatArray:
        """`[N, 3]` points in the scanner's frame at the stamp (ego motion removed)."""
        T = inverse(self.T_world_lidar)
        return self.world @ T[:3, :3].T + T[:3, 3]


def sweep_lidar(
    scene: Scene, lidar: Lidar, t: float, *, instant: bool | None = None, clean: bool = False
) -> LidarSweep:
    """One turn of a scanner.

    Args:
        scene: The world.
        lidar: `scene.rig.lidar` or a variant of it.
        t: Stamp of the sweep, seconds.
        instant: All columns at the stamp; None follows the scene's configuration.
        clean: Without noise and losses.
    """
    instant = scene.config.instant_lidar if instant is None else instant
    offset, azimuth = _columns(lidar, instant)
    ray = _directions(lidar, azimuth)
    tiles = tiles_of(ray, np.ones(ray.shape[:2], dtype=np.bool_))
    T = scene.pose(t + offset) @ lidar.T_base_lidar
    column = tiles.index % lidar.columns
    R = T[column][..., :3, :3]
    world = (R @ tiles.ray[..., None])[..., 0]
    origin = T[column][..., :3, 3]
    rays = Rays(_split(origin), _split(world))
    prims, rows = _near(scene, t, T[len(T) // 2, :3, 3], lidar.range_m[1], instant)
    still = prims if instant else prims.take(rows == 0)
    distance, target = cast_rays(scene.ground, still, scene.looks.holes, rays)
    if not instant:
        static = np.flatnonzero(rows == 0)
        solid = target >= 0
        target[solid] = static[target[solid]]
        for body in np.unique(rows[rows > 0]):
            _cast_mover(scene, prims, rows, int(body), t + offset[column], rays, distance, target)
    return _returns(scene, lidar, t, tiles, offset, T, prims, distance, target, clean)


def _columns(lidar: Lidar, instant: bool) -> tuple[FloatArray, FloatArray]:
    """Time against the stamp and azimuth of every column."""
    part = np.arange(lidar.columns) / lidar.columns
    azimuth = lidar.first_azimuth_rad - 2 * math.pi * part
    return lidar.start_s + part * lidar.period_s if not instant else np.zeros_like(part), azimuth


def _directions(lidar: Lidar, azimuth: FloatArray) -> FloatArray:
    """`[rings, columns, 3]` unit rays in the scanner's frame."""
    e = lidar.elevations_rad[:, None]
    flat = np.cos(e)
    return np.stack(
        np.broadcast_arrays(flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(e)), -1
    )


def _split(v: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return tuple(np.ascontiguousarray(v[..., i]) for i in range(3))


def _near(
    scene: Scene, t: float, at: FloatArray, reach_m: float, instant: bool
) -> tuple[Primitives, npt.NDArray[np.int64]]:
    """Solids in reach and the body of each; movers stay in their own frames unless instant."""
    posed = scene.without_ego.posed(scene.bodies.poses(t))
    near = np.linalg.norm(posed.center - at, axis=1) - posed.radius < reach_m + _SLACK_M
    prims = posed if instant else scene.without_ego
    return prims.take(near), scene.without_ego.body[near]


def _cast_mover(
    scene: Scene,
    prims: Primitives,
    bodies: npt.NDArray[np.int64],
    body: int,
    times: FloatArray,
    rays: Rays,
    distance: FloatArray,
    target: npt.NDArray[np.int64],
) -> None:
    """Test the beams that may meet one moving body, in its frame at each beam's own time."""
    rows = np.flatnonzero(bodies == body)
    part = prims.take(rows)
    reach = float((np.linalg.norm(part.center, axis=1) + part.radius).max()) + _SLACK_M
    middle = scene.bodies.pose(body, np.float64(times.mean()))[:3, 3]
    away = middle - np.stack([c.mean(1) for c in rays.origin], -1)
    gap = np.linalg.norm(away, axis=1)
    axis = np.stack([c.mean(1) for c in rays.direction], -1)
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.arccos(np.clip((away * axis).sum(1) / gap, -1, 1))
    tile = np.flatnonzero(angle < np.arcsin(np.minimum(1.0, reach / gap)) + 0.15)
    if not len(tile):
        return
    # Poses once per distinct time: the columns of the turn, not the beams.
    moments, which = np.unique(times[tile], return_inverse=True)
    T = scene.bodies.pose(body, moments)[which.reshape(times[tile].shape)]
    o = np.stack([c[tile] for c in rays.origin], -1) - T[..., :3, 3]
    d = np.stack([c[tile] for c in rays.direction], -1)
    local = Rays(_split(np.einsum("tsij,tsi->tsj", T[..., :3, :3], o)),
                 _split(np.einsum("tsij,tsi->tsj", T[..., :3, :3], d)))  # fmt: skip
    best, hit = distance[tile], np.full(distance[tile].shape, -1)
    nearest_hit(part, scene.looks.holes, local, find_pairs(part, local), best, hit)
    distance[tile] = best
    target[tile] = np.where(hit >= 0, rows[hit], target[tile])


def _returns(scene, lidar: Lidar, t, tiles: Tiles, offset, T, prims, distance, target, clean):
    """Beams that come back, with noise, in ring order."""
    flat = np.full(len(lidar.elevations_rad) * lidar.columns, np.inf)
    goal = np.full(flat.shape, -1)
    ray = np.zeros((len(flat), 3))
    keep = tiles.valid
    beam = tiles.index[keep]
    flat[beam], goal[beam], ray[beam] = distance[keep], target[keep], tiles.ray[keep]
    rng = stream(scene.config.seed, "lidar", scene.stamp_ns(t))
    noise, loss = rng.standard_normal(len(flat)), rng.random(len(flat))
    back = (flat >= lidar.range_m[0]) & (flat < lidar.range_m[1])
    if not clean:
        back &= loss >= lidar.loss
        flat = flat + lidar.noise_m * noise
    beam = np.flatnonzero(back)
    ring, column = beam // lidar.columns, beam % lidar.columns
    points = ray[beam] * flat[beam, None]
    pose = T[column]
    world = (pose[:, :3, :3] @ points[..., None])[..., 0] + pose[:, :3, 3]
    class_id, instance, body, reflectance = _what(scene, prims, goal[beam], world)
    T_at = scene.pose(t) @ lidar.T_base_lidar
    return LidarSweep(
        t, points, world, pose[:, :3, 3], reflectance, ring.astype(np.uint16),
        offset[column].astype(np.float32), class_id, instance, body, T_at,
    )  # fmt: skip


def _what(scene: Scene, prims: Primitives, target, world):
    """Class, instance, body and reflectance of hits."""
    solid = target >= 0
    row = np.where(solid, target, 0)
    pick = lambda column: column[row] * solid if len(column) else 0 * row  # noqa: E731
    class_id = pick(prims.class_id)
    x, y = world[~solid, 0], world[~solid, 1]
    class_id[~solid] = scene.ground.class_of(scene.ground.laterals(x, y))
    reflectance = np.zeros(len(target), dtype=np.float32)
    if len(prims):
        reflectance[solid] = prims.color[row[solid]].mean(1)
    footprint = np.full(len(x), 0.05, dtype=np.float32)
    ground = ground_albedo(scene.ground, scene.looks.noise, x, y, class_id[~solid], footprint)
    reflectance[~solid] = ground.mean(0)
    return (
        class_id.astype(np.uint8), pick(prims.instance_id).astype(np.uint16),
        pick(prims.body).astype(np.int32), reflectance.clip(0.0, 0.99),
    )  # fmt: skip
