"""What a procedural scene is asked to be: rig, size, seed and the ranges its numbers come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np

from occ_perception.core.errors import ConfigError

# Written into every tree and bag; raised whenever any output changes.
WORLD_VERSION = "1.0.0"
# 2030-01-01T00:00:00Z: a stamp of the world cannot be mistaken for a recorded one.
EPOCH_NS = 1_893_456_000_000_000_000

RIGS = ("kitti", "kitti00", "kitti360", "nuscenes", "cityscapes", "bdd100k", "realestate10k")
PRESETS = ("tiny", "small", "full")
SPLITS: dict[str, range] = {
    "unit": range(7, 8),
    "small-train": range(1000, 1024),
    "small-val": range(2000, 2006),
}

Range = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """Intervals that a scene draws its numbers from (metres, seconds, shares).

    Attributes:
        lanes: Fewest and most lanes of the main street.
        lane_width_m: Width of a lane.
        radius_m: Radius of the street's curve.
        grade: Steepest slope of the long wave of the ground.
        sidewalk_m: Width of the sidewalk.
        setback_m: From kerb to facade.
        speed_mps: Cruising speed of the ego car.
        light: Brightness of the scene's light; 1 is day.
        rig_lift_m: How much higher than published the sensors sit.
        mover_share: Share of scenes with moving objects.
        oncoming: Fewest and most cars that come towards the ego car.
        oncoming_gap_m: From one's front to the next one's.
        convoy: Cars that follow the ego car.
        road_work_share: Share of scenes with road works.
    """

    lanes: tuple[int, int] = (2, 4)
    lane_width_m: Range = (3.0, 3.5)
    radius_m: Range = (40.0, 160.0)
    grade: Range = (0.0, 0.04)
    sidewalk_m: Range = (1.5, 3.5)
    setback_m: Range = (3.0, 8.0)
    speed_mps: Range = (5.0, 14.0)
    light: Range = (0.92, 1.05)
    rig_lift_m: Range = (0.0, 0.0)
    mover_share: float = 0.6
    oncoming: tuple[int, int] = (2, 4)
    oncoming_gap_m: Range = (18.0, 26.0)
    convoy: int = 0
    road_work_share: float = 0.15


TRAIN_RANGES = Ranges()
# Disjoint from the training ranges in street width, light and sensor height.
HELD_RANGES = replace(
    TRAIN_RANGES,
    lanes=(4, 6),
    lane_width_m=(3.6, 4.2),
    sidewalk_m=(3.7, 5.0),
    setback_m=(8.5, 12.0),
    light=(0.25, 0.45),
    rig_lift_m=(0.15, 0.4),
)
# As for training, but most cars near the ego car drive.
BUSY_RANGES = replace(
    TRAIN_RANGES, mover_share=1.0, oncoming=(8, 11), oncoming_gap_m=(14.0, 18.0), convoy=2
)


@dataclass(frozen=True)
class WorldConfig:
    """One scene.

    Attributes:
        rig: Sensor rig, one of `RIGS`.
        preset: Image sizes and LiDAR density, one of `PRESETS`.
        seed: Seed of the scene; layout, texture, movers, noise and teachers are its children.
        frames: Number of key frames (10 Hz; 2 Hz for nuScenes).
        ranges: Where the numbers come from.
        movers: Force moving objects on or off; None draws it.
        marked_cube: Replace the street by an empty plain with one cube at (12.3, -4.5, 1.1) in
            the grid of frame 0: the test of axes and origins.
        landmark: Put a red cube on the street, ahead and to the left (`scene.LANDMARK_XY_M`): what
            is left and near in one picture must be so in all. Traffic drives through it.
        weave_m: Lateral triangle wave of the ego car whose speed changes sign every frame: labels
            joined with the wrong image show up.
        specular: Add windows whose brightness depends on the view; breaks photometric losses.
        instant_lidar: All columns of a sweep at the sweep's stamp.
        noise: Camera noise and exposure changes.
    """

    rig: str = "kitti"
    preset: str = "tiny"
    seed: int = 7
    frames: int = 6
    ranges: Ranges = field(default=TRAIN_RANGES)
    movers: bool | None = None
    marked_cube: bool = False
    landmark: bool = False
    weave_m: float = 0.0
    specular: bool = False
    instant_lidar: bool = False
    noise: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be built.

        Raises:
            ConfigError: Unknown rig or preset, or no frames.
        """
        if self.rig not in RIGS:
            raise ConfigError(f"unknown rig '{self.rig}'; choose one of: {', '.join(RIGS)}")
        if self.preset not in PRESETS:
            raise ConfigError(
                f"unknown preset '{self.preset}'; choose one of: {', '.join(PRESETS)}"
            )
        if self.frames < 1 or self.seed < 0:
            raise ConfigError(
                f"a scene needs one frame or more and a seed of 0 or more, got {self.frames} "
                f"frames and seed {self.seed}"
            )


def stream(seed: int, name: str, *keys: int) -> np.random.Generator:
    """Random numbers of one purpose: the named child of a scene's seed.

    Args:
        seed: Seed of the scene.
        name: Purpose, e.g. "layout"; draws of one purpose never shift another's.
        keys: Further non-negative numbers such as a camera index and a stamp.
    """
    key = (crc32(name.encode()), *keys)
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))


def held_configs(
    seeds: list[int], base: WorldConfig, ranges: Ranges = HELD_RANGES
) -> list[WorldConfig]:
    """Scenes apart from the published splits: other ranges, seeds given by the caller.

    Args:
        seeds: One scene each.
        base: What else they are.
        ranges: Those of the held set, or other ones.

    Raises:
        ConfigError: A seed belongs to a published split.
    """
    taken = {seed for split in SPLITS.values() for seed in split} & set(seeds)
    if taken:
        raise ConfigError(f"seeds {sorted(taken)} belong to a published split; choose others")
    return [replace(base, seed=seed, ranges=ranges) for seed in seeds]
