"""What can be set at the nodes of single systems, beside what all nodes have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from occ_perception.blocks.depth_prior import DepthPrior, DepthPriorConfig, PretrainedPrior
from occ_perception.core.errors import ConfigError
from occ_perception.ros.params import setting
from occ_perception.ros.settings import (
    CameraSettings,
    FrameSettings,
    NodeSettings,
    OutputSettings,
)
from occ_perception.systems.roles import anchor_of
from occ_perception.weights.load import load_weights

_WHOLE = 1e-3  # a voxel more or less would show


@dataclass(frozen=True)
class GridSettings:
    """The grid that a field is asked for; a field answers anywhere."""

    lower_m: tuple[float, ...] = setting(
        (0.0, -25.6, -2.0), "lower corner x y z in the grid's frame, metres"
    )
    upper_m: tuple[float, ...] = setting(
        (51.2, 25.6, 4.4), "upper corner x y z in the grid's frame, metres"
    )
    voxel_size_m: float = setting(0.2, "edge length of a voxel, metres", low=0.02, high=10.0)

    def __post_init__(self) -> None:
        """Check that whole voxels fill the space.

        Raises:
            ConfigError: They do not, or a corner is not three numbers.
        """
        corners = self.lower_m, self.upper_m
        if any(len(c) != 3 or not all(map(math.isfinite, c)) for c in corners):
            raise ConfigError(
                "parameters 'grid.lower_m' and 'grid.upper_m' must be three finite numbers "
                f"(x y z in metres), they are {list(self.lower_m)} and {list(self.upper_m)}"
            )
        counts = [(b - a) / self.voxel_size_m for a, b in zip(*corners, strict=True)]
        if any(n < 1 - _WHOLE or abs(n - round(n)) > _WHOLE for n in counts):
            raise ConfigError(
                f"voxels of 'grid.voxel_size_m' {self.voxel_size_m:g} do not fill the space from "
                f"'grid.lower_m' {list(self.lower_m)} to 'grid.upper_m' {list(self.upper_m)}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels."""
        pairs = zip(self.lower_m, self.upper_m, strict=True)
        x, y, z = (round((b - a) / self.voxel_size_m) for a, b in pairs)
        return x, y, z


@dataclass(frozen=True)
class FieldNodeSettings(NodeSettings):
    """Parameters of the nodes around density fields."""

    grid: GridSettings = field(default_factory=GridSettings)

    def configured(self, config: Any) -> Any:
        """A preset's configuration with what was set here."""
        grid = self.grid
        return replace(
            super().configured(config),
            origin_m=grid.lower_m,
            voxel_m=grid.voxel_size_m,
            grid_shape=grid.shape,
        )


@dataclass(frozen=True)
class ViPOccNodeSettings(FieldNodeSettings):
    """Parameters of ViPOcc's node."""

    depth_prior: str = setting(
        "",
        "Depth Anything V2, metric: safetensors file of `occ weights convert depth_prior`, or "
        "transformers' folder; empty = the depth branch does not run",
    )

    def complete(self, system: Any) -> None:
        """Give the depth branch its prior.

        Raises:
            WeightsError: The file cannot be used.
            ConfigError: The folder cannot be used, or the network has no depth branch.
        """
        if self.depth_prior:
            path, size = Path(self.depth_prior).expanduser(), system.config.input_size
            system.attach_prior(_prior_of(path, size))


def _prior_of(path: Path, image_size: tuple[int, int]) -> DepthPrior | PretrainedPrior:
    if path.is_dir():
        return PretrainedPrior.of_folder(path, image_size)
    prior = DepthPrior(DepthPriorConfig(image_size))
    load_weights(prior, path, system="depth_prior")
    return prior


@dataclass(frozen=True)
class SurroundCameraSettings(CameraSettings):
    """How the images of a surround rig come in."""

    max_skew_s: float = setting(
        0.06, "largest time between an image and the anchor's, seconds", low=0.0, high=10.0
    )
    min_period_s: float = setting(
        0.08, "images of one camera are at least this far apart, seconds", low=0.0, high=10.0
    )
    names: tuple[str, ...] = setting((), "cameras of this robot; empty = nuScenes' six")
    anchor: str = setting("", "camera whose stamp an answer carries; empty = CAM_FRONT")


@dataclass(frozen=True)
class MovingFrameSettings(FrameSettings):
    """Names of frames, for systems that need the robot's motion."""

    grid: str = setting("base_link", "frame of the voxel grid (x forward, y left, z up)")
    use_odometry: bool = setting(False, "take motion from the topic `odometry` instead of TF")


@dataclass(frozen=True)
class SurroundNodeSettings(NodeSettings):
    """Parameters of the nodes around surround-view systems."""

    rig_field: ClassVar[str] = "cameras"  # of the configuration, that says which cameras there are
    cameras: SurroundCameraSettings = field(default_factory=SurroundCameraSettings)
    frames: MovingFrameSettings = field(default_factory=MovingFrameSettings)
    output: OutputSettings = field(
        default_factory=lambda: OutputSettings(min_height_m=0.3, max_height_m=2.0)
    )

    def configured(self, config: Any) -> Any:
        """A preset's configuration with what was set here."""
        config = super().configured(config)
        return (
            replace(config, **{self.rig_field: self.cameras.names})
            if self.cameras.names
            else config
        )

    def anchor(self, roles: tuple[str, ...]) -> str:
        """The camera whose images define the sets.

        Raises:
            ConfigError: It is none of the cameras.
        """
        chosen = self.cameras.anchor or anchor_of(roles)
        if chosen not in roles:
            raise ConfigError(
                f"parameter 'cameras.anchor' is '{chosen}', choose one of {', '.join(roles)}"
            )
        return chosen


@dataclass(frozen=True)
class LangOccNodeSettings(SurroundNodeSettings):
    """Parameters of LangOcc's node."""

    prompts: tuple[str, ...] = setting(
        (), "words to look for; empty = the vocabulary of the preset", is_live=True
    )
    background: tuple[str, ...] = setting(
        (),
        "words for what no prompt names; empty = the preset's for other things, none = no such",
    )
    embeddings: str = setting(
        "", "safetensors file of text embeddings; empty = the shipped ones, else the text encoder"
    )


@dataclass(frozen=True)
class GaussianSettings:
    """How Gaussians become voxels."""

    reach: int = setting(
        4, "voxels around a Gaussian that it is added to (nbh)", low=1, high=12, is_live=True
    )


@dataclass(frozen=True)
class GaussianFlowOccNodeSettings(SurroundNodeSettings):
    """Parameters of GaussianFlowOcc's node."""

    rig_field: ClassVar[str] = "rig"
    gaussians: GaussianSettings = field(default_factory=GaussianSettings)

    def apply(self, system: Any) -> None:
        """Hand settings that may change at any time to the system."""
        system.reach = self.gaussians.reach


SETTINGS: Mapping[str, type[NodeSettings]] = {
    "vlscene": NodeSettings,
    "vipocc": ViPOccNodeSettings,
    "scenedino": FieldNodeSettings,
    "langocc": LangOccNodeSettings,
    "gaussianflowocc": GaussianFlowOccNodeSettings,
}
