"""GaussianFlowOcc's network (Boeder et al., ICCV 2025): six cameras to semantic Gaussians."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.attention.deformable import ProjectionPlan, plan_projection
from occ_perception.blocks.backbones import build_backbone, feature_channels
from occ_perception.blocks.necks.fpn import FPN
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.decoder import (
    GaussianDecoder,
    GaussianMemory,
    init_linear,
)
from occ_perception.systems.gaussianflowocc.flow import (
    FlowModule,
    dynamic_gaussians,
    moved_means,
)
from occ_perception.voxels.gaussians import (
    Gaussians,
    GaussianVolume,
    VoxelLabels,
    gaussians_to_volume,
    label_voxels,
)

LEVELS = (2, 3, 4)  # strides 8, 16, 32; the decoder reads from all three


class GaussianScene(NamedTuple):
    """One instant.

    Attributes:
        gaussians: In the vehicle frame.
        features: One vector per Gaussian, carried to the next key frame.
    """

    gaussians: Gaussians
    features: Float[Tensor, "b g c"]

    @property
    def memory(self) -> GaussianMemory:
        """What the next key frame needs."""
        return GaussianMemory(self.gaussians.means, self.features)


class GaussianFlowOcc(nn.Module):
    """The network of the paper's overview figure.

    Args:
        config: Sizes; the default is the published model.
    """

    def __init__(self, config: GaussianFlowOccConfig) -> None:
        super().__init__()
        self.config = config
        width = config.channels
        self.backbone = build_backbone(
            config.backbone, LEVELS, config.backbone_widths, config.backbone_depths
        )
        self.neck = FPN(feature_channels(self.backbone), width)
        lower, upper = (torch.tensor(v) for v in (config.grid.origin_m, config.grid.upper_m))
        start = lower + torch.rand(config.gaussians, 3) * (upper - lower)
        self.initial_means = nn.Parameter(start)
        self.gaussian_queries = nn.Parameter(torch.randn(config.gaussians, width))
        self.decoder = GaussianDecoder(config, len(LEVELS))
        self.semantic_head = _head(width, config.head_channels, config.classes)
        self.opacity_head = _head(width, config.head_channels, 1)
        self.scale_head = _head(width, config.head_channels, 3)
        self.rotation_head = _head(width, config.head_channels, 4)
        self.flow = FlowModule(width, config.flow_channels, config.steps, steady=config.steady_flow)

    def plan(
        self,
        T_base_cam: Float[Tensor, "b n 4 4"],
        K: Float[Tensor, "b n 3 3"],
        image_transform: Float[Tensor, "b n 3 3"],
    ) -> ProjectionPlan:
        """What depends on the calibration alone (see `plan_projection`)."""
        return plan_projection(T_base_cam, K, image_transform, self.config.input_size)

    def image_features(
        self, images: Float[Tensor, "b n 3 h w"]
    ) -> list[Float[Tensor, "b n c _ _"]]:
        """Feature maps of all cameras, finest first."""
        maps = self.neck(self.backbone(images.flatten(0, 1)))
        return [m.unflatten(0, images.shape[:2]) for m in maps]

    def place(
        self,
        maps: list[Float[Tensor, "b n c _ _"]],
        plan: ProjectionPlan,
        memory: GaussianMemory | None,
    ) -> GaussianScene:
        """Gaussians from feature maps.

        Args:
            maps: From `image_features`.
            plan: The cameras.
            memory: The previous key frame, carried to the current vehicle frame; None = no past.
        """
        queries = self.queries(len(maps[0]))
        means, features = self.decoder(queries, memory or queries, maps, plan)
        gaussians = Gaussians(
            means,
            scales=self.scale_head(features).float().sigmoid(),
            quaternions=F.normalize(self.rotation_head(features).float(), dim=-1),
            opacities=self.opacity_head(features).float().sigmoid(),
            logits=self.semantic_head(features).float(),
        )
        return GaussianScene(gaussians, features)

    def forward(
        self,
        images: Float[Tensor, "b n 3 h w"],
        plan: ProjectionPlan,
        memory: GaussianMemory | None = None,
    ) -> GaussianScene:
        """Gaussians of one key frame.

        Args:
            images: Normalised images at the network's size.
            plan: The cameras.
            memory: The previous key frame, carried to the current vehicle frame; None = no past.
        """
        return self.place(self.image_features(images), plan, memory)

    def begin(self, images: Float[Tensor, "b n 3 h w"], plan: ProjectionPlan) -> GaussianScene:
        """The first key frame of a scene: placed twice, the first result as its own past."""
        maps = self.image_features(images)
        first = self.place(maps, plan, None)
        return self.place(maps, plan, first.memory)

    def queries(self, batch: int) -> GaussianMemory:
        """Where every key frame starts from."""
        means = self.initial_means.expand(batch, -1, -1)
        return GaussianMemory(means, self.gaussian_queries.expand(batch, -1, -1))

    def means_over_time(
        self, scene: GaussianScene, steps: Int[Tensor, " s"]
    ) -> Float[Tensor, "b t g 3"]:
        """Where the Gaussians are at neighbouring key frames, and last where they are now.

        Args:
            scene: The current key frame.
            steps: Offset indices; the middle one stands for the current frame.
        """
        dynamic = dynamic_gaussians(scene.gaussians.logits, self.config.dynamic_ids)
        displacements = self.flow(scene.features, steps)
        return moved_means(scene.gaussians.means, displacements, dynamic)

    def voxels(self, gaussians: Gaussians, reach: int | None = None) -> VoxelLabels:
        """Voxels of one sample.

        Args:
            gaussians: Without batch axis.
            reach: Half edge of the cube that a Gaussian is added to; the configuration's if None.
        """
        roof, below = self.config.roof, self.config.grid_below_roof  # what is above is free anyway
        volume = gaussians_to_volume(gaussians, below, reach or self.config.reach)
        above = self.config.shape[2] - roof
        density, logits = F.pad(volume.density, (0, above)), F.pad(volume.logits, (0, 0, 0, above))
        return label_voxels(GaussianVolume(density, logits), roof)


def _head(channels: int, hidden: int, out: int) -> nn.Sequential:
    head = nn.Sequential(
        nn.Linear(channels, hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, out),
    )
    init_linear(head)
    return head
