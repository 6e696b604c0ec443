"""What can be set at a node; `config/*.yaml` uses the same words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from occ_perception.core.errors import ConfigError
from occ_perception.core.labels import LabelMap
from occ_perception.ros.params import setting
from occ_perception.systems.roles import anchor_of


@dataclass(frozen=True)
class SystemSettings:
    """Which network runs, and where."""

    weights: str = setting("", "safetensors file; empty = those shipped for the preset; random")
    device: str = setting("auto", "cpu, cuda:0 or the like; auto = the first GPU, else the CPU")
    precision: str = setting("fp32", "number format", choices=("fp32", "bf16", "fp16"))
    preset: str = setting("published", "size of the network")


@dataclass(frozen=True)
class CameraSettings:
    """How images come in and which belong together."""

    compressed: bool = setting(False, "subscribe to <image>/compressed instead of <image>")
    max_skew_s: float = setting(
        0.02, "largest time between the images of one set, seconds", low=0.0, high=10.0
    )
    min_period_s: float = setting(
        0.02, "images of one camera are at least this far apart, seconds", low=0.0, high=10.0
    )
    patience_s: float = setting(
        2.0, "wall time until an image without partner is given up, seconds", low=0.0, high=600.0
    )
    queue_depth: int = setting(5, "images kept per camera", low=1, high=100)


@dataclass(frozen=True)
class FrameSettings:
    """Names of coordinate frames."""

    grid: str = setting("velodyne", "frame of the voxel grid (x forward, y left, z up)")
    base: str = setting("base_link", "frame of the robot")
    world: str = setting("odom", "fixed frame, for systems that need the robot's motion")
    tf_timeout_s: float = setting(
        0.1, "how long to wait for a transform, seconds", low=0.0, high=10.0
    )
    grid_pose_in_base: tuple[float, ...] = setting(
        (), "x y z (m) roll pitch yaw (rad): broadcast the grid's frame here; empty = TF has it"
    )

    def __post_init__(self) -> None:
        """Check what ranges cannot say.

        Raises:
            ConfigError: The pose is not six finite numbers, or a frame has no name.
        """
        pose = self.grid_pose_in_base
        if len(pose) not in (0, 6) or not np.isfinite(pose).all():
            raise ConfigError(
                "parameter 'frames.grid_pose_in_base' must be six finite numbers "
                f"(x y z in metres, roll pitch yaw in radians) or absent, it is {list(pose)}"
            )
        if not (self.grid and self.base):
            raise ConfigError("parameters 'frames.grid' and 'frames.base' must name a frame")


@dataclass(frozen=True)
class OutputSettings:
    """What is published; views are built only while somebody listens."""

    voxels: bool = setting(True, "publish ~/voxels", is_live=True)
    grid: bool = setting(True, "publish ~/grid", is_live=True)
    points: bool = setting(True, "publish ~/points", is_live=True)
    markers: bool = setting(False, "publish ~/markers", is_live=True)
    min_height_m: float = setting(
        -1.3, "lower end of ~/grid's height band, metres in the grid's frame", is_live=True
    )
    max_height_m: float = setting(
        0.6, "upper end of ~/grid's height band, metres in the grid's frame", is_live=True
    )
    blocking: tuple[str, ...] = setting(
        (), "classes that block in ~/grid and ~/markers; empty = as the label map says",
        is_live=True,
    )  # fmt: skip
    max_markers: int = setting(2000, "most cubes in ~/markers", low=1, high=100_000, is_live=True)

    def __post_init__(self) -> None:
        """Check the height band.

        Raises:
            ConfigError: It is empty.
        """
        if self.min_height_m >= self.max_height_m:
            raise ConfigError(
                f"parameter 'output.min_height_m' ({self.min_height_m:g}) must be below "
                f"'output.max_height_m' ({self.max_height_m:g})"
            )

    def blocking_table(self, labels: LabelMap) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Look-up table `[256]`: does the id block a robot.

        Raises:
            ConfigError: A class does not exist in the label map.
        """
        if not self.blocking:
            return labels.blocking()
        table = np.zeros(256, np.bool_)
        table[[labels.id_of(name) for name in self.blocking]] = True
        return table


@dataclass(frozen=True)
class NodeSettings:
    """All parameters of a node."""

    autostart: bool = setting(True, "configure and activate at start, without a manager")
    system: SystemSettings = field(default_factory=SystemSettings)
    cameras: CameraSettings = field(default_factory=CameraSettings)
    frames: FrameSettings = field(default_factory=FrameSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    def configured(self, config: Any) -> Any:
        """The configuration of a system's preset with what was set here."""
        return replace(config, frame_id=self.frames.grid)

    def complete(self, system: Any) -> None:
        """Add what a system runs beside its network; called once its weights are loaded.

        Raises:
            OccError: It cannot be loaded.
        """

    def anchor(self, roles: tuple[str, ...]) -> str:
        """The camera whose images define the sets."""
        return anchor_of(roles)

    def apply(self, system: Any) -> None:
        """Hand settings that may change at any time to the system; called before every set."""
