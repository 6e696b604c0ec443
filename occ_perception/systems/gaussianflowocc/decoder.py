"""From queries and image features to placed Gaussians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.attention.deformable import DeformableCrossAttention, ProjectionPlan
from occ_perception.blocks.attention.induced import InducedAttention
from occ_perception.geometry.precision import single_precision
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig


class GaussianMemory(NamedTuple):
    """What is handed from one key frame to the next.

    Attributes:
        means: Centres, metres, in the vehicle frame of their own time.
        features: One vector per Gaussian.
    """

    means: Float[Tensor, "b g 3"]
    features: Float[Tensor, "b g c"]

    def carried(self, T_next_previous: Float[Tensor, "b 4 4"]) -> GaussianMemory:
        """The memory in the vehicle frame of the next key frame."""
        R, t = T_next_previous[:, :3, :3], T_next_previous[:, None, :3, 3]
        with single_precision(self.means):
            means = self.means @ R.mT.to(self.means) + t.to(self.means)
        return GaussianMemory(means, self.features)


class PositionCode(nn.Module):
    """Learnt code of a position; outside the grid it simply goes on."""

    def __init__(self, channels: int, lower_m: Sequence[float], upper_m: Sequence[float]) -> None:
        super().__init__()
        # A part of official checkpoints, so it is one of ours.
        self.register_buffer("pc_range", torch.tensor([*lower_m, *upper_m]))
        self.pos_enc = nn.Sequential(
            nn.Linear(3, channels),
            nn.LeakyReLU(),
            nn.Linear(channels, channels),
            nn.LeakyReLU(),
            nn.Linear(channels, channels),
            nn.LayerNorm(channels),
        )
        init_linear(self)

    def forward(self, points: Float[Tensor, "b g 3"]) -> Float[Tensor, "b g c"]:
        """Code of points, metres."""
        lower, upper = self.pc_range.split(3)
        with single_precision(points):
            return self.pos_enc((points.float() - lower) / (upper - lower))


class DecoderBlock(nn.Module):
    """One round of refinement: remember, look around, look at the images, move."""

    def __init__(self, config: GaussianFlowOccConfig, levels: int) -> None:
        super().__init__()
        width, heads = config.channels, config.heads
        self.temporal_attn, self.self_attn = (
            InducedAttention(width, config.inducing_points, heads, config.dropout) for _ in range(2)
        )
        self.cross_attn = DeformableCrossAttention(
            width, len(config.cameras), levels, heads, config.sampling_points, config.dropout
        )
        self.mean_head = nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 3))
        init_linear(self.mean_head)

    def forward(
        self,
        features: Float[Tensor, "b g c"],
        means: Float[Tensor, "b g 3"],
        remembered: Float[Tensor, "b p c"],
        maps: Sequence[Float[Tensor, "b n c _ _"]],
        plan: ProjectionPlan,
    ) -> tuple[Float[Tensor, "b g c"], Float[Tensor, "b g 3"]]:
        """Features and means after the round.

        Args:
            features: Features with the code of their position.
            means: Centres, metres.
            remembered: `temporal_attn.induce` of the memory.
            maps: Image features, finest first.
            plan: The cameras.
        """
        features = self.temporal_attn(features, remembered)
        features = self.self_attn(features, self.self_attn.induce(features))
        features = self.cross_attn(features, means, maps, plan)
        return features, means + self.mean_head(features).float()


class GaussianDecoder(nn.Module):
    """All rounds, with one position code for all of them and for the memory.

    Args:
        config: Sizes.
        levels: Number of image feature levels.
    """

    def __init__(self, config: GaussianFlowOccConfig, levels: int) -> None:
        super().__init__()
        grid = config.grid
        self.encode = PositionCode(config.channels, grid.origin_m, grid.upper_m)
        self.blocks = nn.ModuleList(DecoderBlock(config, levels) for _ in range(config.blocks))

    def remember(self, memory: GaussianMemory) -> list[Float[Tensor, "b p c"]]:
        """What the rounds need of the memory; needs no image, so it can be made in advance."""
        keys = self.encode(memory.means) + memory.features
        return [block.temporal_attn.induce(keys) for block in self.blocks]

    def forward(
        self,
        queries: GaussianMemory,
        memory: GaussianMemory,
        maps: Sequence[Float[Tensor, "b n c _ _"]],
        plan: ProjectionPlan,
    ) -> GaussianMemory:
        """Placed Gaussians and their features.

        Args:
            queries: Where every frame starts from.
            memory: The previous key frame in the current vehicle frame, or the queries again.
            maps: Image features, finest first.
            plan: The cameras.
        """
        means, features = queries
        for block, remembered in zip(self.blocks, self.remember(memory), strict=True):
            features = features + self.encode(means)
            features, means = block(features, means, remembered, maps, plan)
        return GaussianMemory(means, features)


def init_linear(module: nn.Module) -> None:
    """Kaiming's initialisation for leaky ReLUs in all linear layers."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.01)
            nn.init.zeros_(layer.bias)
