"""Configuration of VLScene; the defaults are the published SemanticKITTI model."""

from __future__ import annotations

from dataclasses import dataclass

from occ_perception.core.errors import ConfigError
from occ_perception.core.grid import GridSpec


@dataclass(frozen=True)
class VLSceneConfig:
    """Sizes of the network and of the space it sees (paper: arXiv 2503.06219).

    Attributes:
        input_size: Height and width of the network's images, pixels; multiples of 32.
        stride: Image pixels per feature pixel.
        depth_min_m: Depth of the first bin.
        depth_max_m: End of the depth range, excluded.
        depth_step_m: Distance of two bins.
        backbone: timm's name of the image backbone.
        backbone_widths: Channels per backbone stage, None = as published.
        backbone_depths: Blocks per backbone stage, None = as published.
        neck_channels: Channels of the image features.
        context_channels: Channels of the lifted features.
        match_channels: Channels correlated between the views.
        stereo_groups: Correlation groups = channels of the stereo volume.
        interaction_channels: Channels of the volume interaction.
        sparse_channels: Channels of the sparse U-Net's three resolutions, finest first.
        head_channels: Channels behind the head's first convolution, and of the rest of it.
        classes: Classes of the voxels, id 0 = empty.
        origin_m: Lower corner of the grid in the LiDAR-like frame.
        voxel_m: Edge length of the predicted voxels.
        lift_shape: Voxels of the volume that features are lifted to.
        upsample: Predicted voxels per lifted voxel along x, y and z.
        mean_lift: Lift the mean of all that the rays through a voxel bring along instead of the
            sum, as published. Near voxels are hit by a hundred times as many rays as far ones; what
            is lifted to coarse voxels from nothing hears only those.
        frame_id: Name of the grid's frame.
        published_slips: Repeat the slips of the published training, around which its weights were
            learnt: stereo looks for depth at disparities that agree with no depth bin; it is told
            the camera in raw pixels and metres, which shuts about half of its gates for ever;
            negative scores of the fused depth all count as zero; the depth loss wants the bin after
            the right one; the point branch exchanges x and z and looks up pixels of the right
            camera in the left image; the teacher gets the student's colours and its features are
            cut out askew; the head aligns the corners of both grids. A training of one's own does
            better without.
        teacher_classes: Classes of the teacher's pixel labels (training).
        teacher_channels: Channels of the teacher's features (training).
    """

    input_size: tuple[int, int] = (384, 1280)
    stride: int = 8
    depth_min_m: float = 2.0
    depth_max_m: float = 58.0
    depth_step_m: float = 0.5
    backbone: str = "repvit_m2_3"
    backbone_widths: tuple[int, ...] | None = None
    backbone_depths: tuple[int, ...] | None = None
    neck_channels: int = 128
    context_channels: int = 128
    match_channels: int = 64
    stereo_groups: int = 32
    interaction_channels: int = 32
    sparse_channels: tuple[int, int, int] = (64, 128, 256)
    head_channels: tuple[int, int] = (128, 64)
    classes: int = 20
    origin_m: tuple[float, float, float] = (0.0, -25.6, -2.0)
    voxel_m: float = 0.2
    lift_shape: tuple[int, int, int] = (128, 128, 16)
    upsample: tuple[int, int, int] = (2, 2, 2)
    mean_lift: bool = False
    frame_id: str = "velodyne"
    published_slips: bool = True
    teacher_classes: int = 21  # LSeg prompts, "others" included
    teacher_channels: int = 512  # CLIP ViT-B/32 text space

    def __post_init__(self) -> None:
        """Refuse sizes that the hourglasses and the sparse U-Net cannot halve twice.

        Raises:
            ConfigError: A size does not divide.
        """
        if any(side % (4 * self.stride) for side in self.input_size):
            raise ConfigError(
                f"input_size {self.input_size} must be multiples of {4 * self.stride} pixels"
            )
        if self.bins % 4:
            raise ConfigError(f"{self.bins} depth bins: the number must be a multiple of 4")
        if any(side % 4 for side in self.lift_shape):
            raise ConfigError(f"lift_shape {self.lift_shape} must be multiples of 4")

    @property
    def bins(self) -> int:
        """Number of depth bins."""
        return round((self.depth_max_m - self.depth_min_m) / self.depth_step_m)

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the feature maps."""
        return self.input_size[0] // self.stride, self.input_size[1] // self.stride

    @property
    def lift_grid(self) -> GridSpec:
        """Grid of the lifted features."""
        size = tuple(self.voxel_m * factor for factor in self.upsample)
        return GridSpec(self.origin_m, size, self.lift_shape, self.frame_id)

    @property
    def grid(self) -> GridSpec:
        """Grid of the predicted labels, finer than the lifted one."""
        shape = tuple(n * factor for n, factor in zip(self.lift_shape, self.upsample, strict=True))
        return GridSpec(self.origin_m, (self.voxel_m,) * 3, shape, self.frame_id)

    @classmethod
    def nano(cls) -> VLSceneConfig:
        """Every module of the published model, small enough to be trained on a CPU in an hour.

        The grid stays, so that labels and topics fit both models. Images are half as fine, which
        the two views need to tell depth at all. Features are lifted to voxels that are coarse
        sideways but as low as the predicted ones: most of a street is one layer of ground. Channels
        below 16 would cost as much as 16. What is not learnt around a slip of the published weights
        does not repeat it.
        """
        return cls(
            input_size=(192, 640),
            depth_step_m=1.0,
            backbone="repvit_m0_9",
            backbone_widths=(24, 48, 96, 160),
            backbone_depths=(1, 1, 3, 1),
            neck_channels=48,
            context_channels=32,
            match_channels=32,
            stereo_groups=16,
            interaction_channels=16,
            sparse_channels=(16, 16, 32),
            head_channels=(16, 16),
            lift_shape=(32, 64, 32),
            upsample=(8, 4, 1),
            mean_lift=True,
            published_slips=False,
        )
