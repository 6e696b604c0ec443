"""Temporal flow: where Gaussians of moving things are at neighbouring key frames."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class FlowModule(nn.Module):
    """Displacement of every Gaussian at chosen key frames (training; an option at inference).

    Args:
        channels: Width of the Gaussians' features.
        hidden: Width of the MLP.
        steps: Number of key frame offsets, the current one in the middle.
        steady: Everything keeps its velocity, and to the level; published: it goes anywhere.
    """

    def __init__(self, channels: int, hidden: int, steps: int, *, steady: bool = False) -> None:
        super().__init__()
        self._steady = steady
        self.time_embed = nn.Embedding(steps, channels)
        widths = [2 * channels, *[hidden] * 4]
        layers = [
            layer
            for i, o in itertools.pairwise(widths)
            for layer in (nn.Linear(i, o), nn.LeakyReLU())
        ]
        self.ffn = nn.Sequential(*layers, nn.Linear(hidden, 3))

    def forward(
        self, features: Float[Tensor, "b g c"], steps: Int[Tensor, " s"]
    ) -> Float[Tensor, "b g s 3"]:
        """Displacements in the current vehicle frame, metres.

        Args:
            features: Features of the Gaussians.
            steps: Offset indices; the middle one stands for the current frame.
        """
        if not self._steady:
            return self._mlp(features, steps)
        now = self.time_embed.num_embeddings // 2
        per_step = self._mlp(features, steps.new_tensor([now + 1]))
        return per_step * (steps - now)[:, None] * per_step.new_tensor([1.0, 1.0, 0.0])

    def _mlp(
        self, features: Float[Tensor, "b g c"], steps: Int[Tensor, " s"]
    ) -> Float[Tensor, "b g s 3"]:
        time = self.time_embed(steps)
        first, *rest = self.ffn
        # The first layer of a concatenation is a sum: per Gaussian and per step, not per pair.
        by_feature, by_time = first.weight.split(features.shape[-1], dim=1)
        x = (features @ by_feature.T)[:, :, None] + (time @ by_time.T + first.bias)
        for layer in rest:
            x = layer(x)
        return x


def dynamic_gaussians(
    logits: Float[Tensor, "b g k"], dynamic_ids: Sequence[int]
) -> Bool[Tensor, "b g"]:
    """Gaussians whose most likely class can move; logit k stands for class id k + 1."""
    return torch.isin(logits.argmax(dim=-1) + 1, torch.tensor(dynamic_ids, device=logits.device))


def moved_means(
    means: Float[Tensor, "b g 3"],
    displacements: Float[Tensor, "b g s 3"],
    dynamic: Bool[Tensor, "b g"],
) -> Float[Tensor, "b t g 3"]:
    """Means at the neighbouring key frames, then where they are now.

    Args:
        means: Current means, metres.
        displacements: From `FlowModule`, metres.
        dynamic: Gaussians that move; the others stay.
    """
    moves = displacements * dynamic[..., None, None]
    there = (means[:, :, None] + moves).transpose(1, 2)
    return torch.cat([there, means[:, None]], dim=1)
