"""One scene: streets, solids, movements, rig; every sensor asks it for a pose at any time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from occ_training.world.classes import Class
from occ_training.world.config import EPOCH_NS, WorldConfig, stream
from occ_training.world.intersect import foliage_holes
from occ_training.world.layout import Furnisher
from occ_training.world.light import Looks
from occ_training.world.motion import Bodies, Drive, rigid, speed_profile
from occ_training.world.noise import noise_table
from occ_training.world.objects import PAINTS, Place
from occ_training.world.plan import EGO_START_M, Plan, draw_plan
from occ_training.world.primitives import Builder, Kind, Material, Primitives
from occ_training.world.rigs import build_rig
from occ_training.world.road import CenterLine, Ground, Strip
from occ_training.world.sensors import Rig
from occ_training.world.traffic import Traffic

EGO_BODY = 1
MARKED_CUBE_M = (12.3, -4.5, 1.1)
MARKED_CUBE_SIZE_M = 1.0
# On the oncoming lane of every street, in the grid of frame 0; low enough to be scanned from above.
LANDMARK_XY_M = (15.0, 3.5)
LANDMARK_SIZE_M = 1.4
_RED = (0.85, 0.02, 0.02)

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene that can be rendered, scanned and voxelised at any time.

    Attributes:
        config: What was asked for.
        rig: Sensors.
        ground: Height field.
        bodies: Moving bodies; body 0 is the world, body 1 the ego car.
        prims: All solids, in the frames of their bodies; the ego car's own come last.
        instances: Instance id, class id, colour name and body of every object.
        looks: Sun, light, noise tables.
    """

    config: WorldConfig
    rig: Rig
    ground: Ground
    bodies: Bodies
    prims: Primitives
    instances: tuple[dict[str, object], ...]
    looks: Looks

    def pose(self, t: float | npt.NDArray[np.float64]) -> Matrix:
        """`[..., 4, 4]` true pose of the base in the world at times in seconds."""
        T = self.bodies.pose(EGO_BODY, np.asarray(t, dtype=np.float64))
        return T @ _sway(np.asarray(t, dtype=np.float64)) if self.rig.handheld else T

    def recorded_pose(self, t: float, flatten: bool = True) -> Matrix:
        """Pose as nuScenes writes it: z is 0 while roll and pitch stay."""
        T = np.array(self.pose(t))
        if flatten:
            T[..., 2, 3] = 0.0
        return T

    @cached_property
    def frame_times(self) -> npt.NDArray[np.float64]:
        """`[frames]` reference times of the key frames, seconds."""
        return np.arange(self.config.frames) * self.rig.frame_period_s

    @staticmethod
    def stamp_ns(t: float) -> int:
        """Time of the world as a stamp, nanoseconds since the Unix epoch."""
        return EPOCH_NS + round(t * 1e9)

    @cached_property
    def moving(self) -> npt.NDArray[np.bool_]:
        """`[instances + 1]` whether an instance id belongs to a moving body."""
        table = np.zeros(len(self.instances) + 1, dtype=np.bool_)
        for row in self.instances:
            table[int(row["id"])] = row["body"] != 0
        return table

    @cached_property
    def without_ego(self) -> Primitives:
        """Solids without the ego car's own (LiDAR, voxels)."""
        return self.prims.take(self.prims.body != EGO_BODY)

    def snapshot(
        self, t: float, around: npt.ArrayLike, reach_m: float, with_ego: bool = False
    ) -> Primitives:
        """Solids within reach of a world point, posed at a time, in the world frame."""
        prims = (self.prims if with_ego else self.without_ego).posed(self.bodies.poses(t))
        away = np.linalg.norm(prims.center - np.asarray(around), axis=1) - prims.radius
        return prims.take(away < reach_m)


def _sway(t: npt.NDArray[np.float64]) -> Matrix:
    """Hand-held camera: slow turns to all sides."""
    turn = 2 * math.pi * t
    return rigid(
        0.0 * t, 0.15 * np.sin(0.23 * turn), 0.06 * np.sin(0.9 * turn), 0.05 * np.sin(0.31 * turn),
        0.06 * np.sin(0.17 * turn), 0.5 * np.sin(0.11 * turn),
    )  # fmt: skip


def build_scene(config: WorldConfig) -> Scene:
    """Draw a scene from its seed.

    Args:
        config: Rig, preset, seed and ranges.
    """
    ranges, seed = config.ranges, config.seed
    rig = build_rig(config.rig, config.preset)
    motion, layout = stream(seed, "motion"), stream(seed, "layout")
    rig = rig.lifted(float(motion.uniform(*ranges.rig_lift_m)))
    duration = config.frames * rig.frame_period_s
    cruise = 1.2 if rig.handheld else float(motion.uniform(*ranges.speed_mps))
    stop_at = duration * 0.6 if duration > 6.0 and motion.random() < 0.4 else None
    profile = speed_profile(motion, cruise, duration, stop_at)
    origin = float(profile.way(np.float64(0.0)))
    stop_m = None if stop_at is None else EGO_START_M + float(profile.way(stop_at)) - origin
    drive_m = float(profile.way(np.float64(duration))) - origin
    if config.marked_cube:
        plan = Plan(_plain(), 0.0, (), False, ranges.setback_m)
    else:
        plan = draw_plan(layout, ranges, drive_m, stop_m)
    ego = _ego_drive(plan.ground, rig, profile, origin, motion, config)
    bodies = Bodies(plan.ground)
    bodies.add(ego)
    builder = Builder(stream(seed, "texture"))
    if config.marked_cube:
        _marked_cube(builder, bodies, rig)
    else:
        Furnisher(plan, builder, layout).build()
        movers = stream(seed, "movers")
        drawn = movers.random() < ranges.mover_share
        if drawn if config.movers is None else config.movers:
            Traffic(plan, ego, bodies, builder, movers, ranges).build(duration)
    if config.landmark:
        _landmark(builder, bodies, rig)
    own = Place(builder, body=EGO_BODY)
    for center, half in rig.car:
        own.put(Kind.BOX, center, half, Class.EGO, Material.CAR_BODY, PAINTS["grey"])
    return Scene(config, rig, plan.ground, bodies, builder.table(), tuple(builder.instances),
                 _looks(config))  # fmt: skip


def _ego_drive(ground, rig: Rig, profile, origin: float, rng, config: WorldConfig) -> Drive:
    main = ground.strips[0]
    lane = -(main.lanes // 2 - 0.5) * main.lane_m
    if rig.handheld:
        lane = main.right_m - 0.5 * main.sidewalk_m - 0.4
    swing = (0.0, 0.0, 0.0) if config.marked_cube else (*np.deg2rad([0.5, 0.5]), 0.01)
    return Drive(main.line, EGO_START_M - origin, lane, 1, profile, swing=swing,
                 phase=float(rng.uniform(0, 6.28)), weave_m=config.weave_m)  # fmt: skip


def _plain() -> Ground:
    """Flat road without end, for the marked cube."""
    line = CenterLine((-EGO_START_M, 0.0), 0.4)
    return Ground((Strip(line, 40, 3.3),), 0.0, (0.01, 0.0, 0.0), (0.0, 0.0))


def _marked_cube(builder: Builder, bodies: Bodies, rig: Rig) -> None:
    """One car-class cube of 1 m whose centre is `MARKED_CUBE_M` in the grid of frame 0."""
    T_world_grid = bodies.pose(EGO_BODY, np.float64(0.0)) @ rig.T_base_grid
    x, y, z = (T_world_grid @ np.array([*MARKED_CUBE_M, 1.0]))[:3]
    place = Place(builder, (x, y, z), _yaw(T_world_grid), 0, builder.new_instance(Class.CAR, "red"))
    half = (MARKED_CUBE_SIZE_M / 2,) * 3
    place.put(Kind.BOX, (0.0, 0.0, 0.0), half, Class.CAR, Material.STRIPES, PAINTS["red"])


def _landmark(builder: Builder, bodies: Bodies, rig: Rig) -> None:
    """A plain red cube that stands on the ground at `LANDMARK_XY_M`, of the class drawn red."""
    T_world_grid = bodies.pose(EGO_BODY, np.float64(0.0)) @ rig.T_base_grid
    x, y, _ = (T_world_grid @ np.array([*LANDMARK_XY_M, 0.0, 1.0]))[:3]
    ground, _ = bodies.ground.height(x, y)
    instance = builder.new_instance(Class.TRAFFIC_SIGN, "red")
    place = Place(builder, (x, y, float(ground)), _yaw(T_world_grid), 0, instance)
    half = LANDMARK_SIZE_M / 2
    place.put(Kind.BOX, (0.0, 0.0, half), (half,) * 3, Class.TRAFFIC_SIGN, Material.METAL, _RED)


def _yaw(T: Matrix) -> float:
    return math.atan2(T[1, 0], T[0, 0])


def _looks(config: WorldConfig) -> Looks:
    rng = stream(config.seed, "light")
    azimuth, height = rng.uniform(0, 2 * math.pi), np.deg2rad(rng.uniform(28.0, 58.0))
    sun = np.array([math.cos(azimuth) * math.cos(height), math.sin(azimuth) * math.cos(height),
                    math.sin(height)])  # fmt: skip
    texture = stream(config.seed, "noise table")
    return Looks(sun, float(rng.uniform(*config.ranges.light)), noise_table(texture),
                 foliage_holes(texture), config.specular)  # fmt: skip
