"""Configuration of GaussianFlowOcc; the defaults are the published model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.systems.roles import SURROUND_CAMERAS


@dataclass(frozen=True)
class GaussianFlowOccConfig:
    """Sizes of the network and of the space it sees (paper: arXiv 2502.17288).

    Attributes:
        input_size: Height and width of the network's images, pixels; multiples of 32.
        cameras: Names of the cameras; each has an embedding, so their order matters.
        rig: Those of `cameras` that the robot at hand has; empty = all.
        backbone: timm's name of the image backbone, a ResNet.
        backbone_widths: Channels per backbone stage, None = as published.
        backbone_depths: Blocks per backbone stage, None = as published.
        channels: Width of image features and Gaussians.
        gaussians: Number of Gaussians.
        blocks: Number of decoder blocks.
        inducing_points: Learnt points of each attention.
        heads: Attention heads.
        sampling_points: Points per head and level that a Gaussian reads from an image.
        dropout: Of all attentions.
        head_channels: Width of the attribute heads.
        flow_channels: Width of the flow module.
        steady_flow: Gaussians keep their velocity between key frames, and to the level.
        horizon: Neighbouring key frames before and after that are rendered in training.
        past_frames: Earlier key frames that a training sample starts from.
        classes: Number of logits; logit k is class id k + 1.
        dynamic_ids: Class ids that can move.
        origin_m: Lower corner of the grid in the vehicle's frame.
        voxel_m: Edge length of a voxel.
        shape: Voxels.
        roof_m: Height above which density is dropped, although the truth goes on to 5.4 m.
        reach: Half edge, in voxels, of the cube that a Gaussian is added to (`nbh`).
        free_below: Density below which a voxel is free.
        frame_id: Name of the grid's frame.
    """

    input_size: tuple[int, int] = (256, 704)
    cameras: tuple[str, ...] = SURROUND_CAMERAS
    rig: tuple[str, ...] = ()
    backbone: str = "resnet50"
    backbone_widths: tuple[int, ...] | None = None
    backbone_depths: tuple[int, ...] | None = None
    channels: int = 256
    gaussians: int = 10_000
    blocks: int = 3
    inducing_points: int = 500
    heads: int = 8
    sampling_points: int = 8
    dropout: float = 0.1
    head_channels: int = 512
    flow_channels: int = 768
    steady_flow: bool = False
    horizon: int = 6
    past_frames: int = 5
    classes: int = 16
    dynamic_ids: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 9, 10)
    origin_m: tuple[float, float, float] = (-40.0, -40.0, -1.0)
    voxel_m: float = 0.4
    shape: tuple[int, int, int] = (200, 200, 16)
    roof_m: float = 3.4
    reach: int = 4  # as in the paper's experiments
    free_below: float = 0.05
    frame_id: str = "base_link"

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit each other.

        Raises:
            ConfigError: The image does not halve five times, or heads do not share the channels.
        """
        if any(side % 32 for side in self.input_size):
            raise ConfigError(f"input_size {self.input_size} must be multiples of 32 pixels")
        if self.channels % self.heads:
            raise ConfigError(f"{self.channels} channels cannot be shared by {self.heads} heads")
        if strangers := [name for name in self.rig if name not in self.cameras]:
            raise ConfigError(
                f"camera '{strangers[0]}' has no embedding in GaussianFlowOcc; give each camera of "
                f"the rig the name of the nearest of {', '.join(self.cameras)}"
            )

    @property
    def grid(self) -> GridSpec:
        """Grid of the predicted labels."""
        return GridSpec(self.origin_m, (self.voxel_m,) * 3, self.shape, self.frame_id)

    @property
    def roof(self) -> int:
        """First z index whose density is dropped."""
        return round((self.roof_m - self.origin_m[2]) / self.voxel_m)

    @property
    def grid_below_roof(self) -> GridSpec:
        """The part of the grid in which something may be predicted."""
        return replace(self.grid, shape=(*self.shape[:2], self.roof))

    @property
    def steps(self) -> int:
        """Key frame offsets -horizon..horizon; the one in the middle is the current frame."""
        return 2 * self.horizon + 1

    @classmethod
    def august2025(cls) -> GaussianFlowOccConfig:
        """The code of August 2025, whose default was a smaller cube around each Gaussian."""
        return cls(reach=3)

    @classmethod
    def nano(cls) -> GaussianFlowOccConfig:
        """Every module of the published model at a fraction of its width, for a CPU.

        The grid stays, so that labels fit both models; images have half the size. Flow reaches a
        second: cars of two instants overlap, so that a short training finds out where they went.
        It is steady: what is free at another time drives all Gaussians out by the shortest way, up,
        down or aside, but not forwards after and backwards before.
        """
        return cls(
            input_size=(128, 352),
            backbone="resnet18",
            backbone_widths=(16, 32, 64, 128),
            backbone_depths=(1, 1, 1, 1),
            channels=64,
            gaussians=4500,
            blocks=2,
            inducing_points=64,
            heads=4,
            sampling_points=4,
            dropout=0.0,
            head_channels=128,
            flow_channels=128,
            steady_flow=True,
            horizon=2,
            past_frames=1,
            reach=3,
            free_below=0.5,
        )
