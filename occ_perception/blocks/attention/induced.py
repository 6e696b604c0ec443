"""Induced attention: cost linear in the number of tokens (Set Transformer, Lee et al. 2019)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class InducedAttention(nn.Module):
    """A few learnt points gather from many keys; many queries then read from the points.

    Args:
        channels: Width of queries and keys.
        points: Number of learnt points.
        heads: Attention heads.
        dropout: On attention weights and behind the MLPs.
    """

    def __init__(self, channels: int, points: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.inducing_points = nn.Parameter(torch.randn(points, channels))
        self.induced_attention, self.output_attention = (
            nn.MultiheadAttention(channels, heads, dropout, batch_first=True) for _ in range(2)
        )
        self.induced_ff, self.output_ff = (_feed_forward(channels, dropout) for _ in range(2))
        self.induced_ln1, self.induced_ln2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.output_ln1, self.output_ln2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def induce(self, keys: Float[Tensor, "b k c"]) -> Float[Tensor, "b p c"]:
        """What the learnt points gather from the keys; depends on no query."""
        points = self.inducing_points.expand(len(keys), -1, -1)
        gathered, _ = self.induced_attention(points, keys, keys, need_weights=False)
        gathered = self.induced_ln1(gathered + points)
        return self.induced_ln2(self.induced_ff(gathered) + gathered)

    def forward(
        self, queries: Float[Tensor, "b g c"], induced: Float[Tensor, "b p c"]
    ) -> Float[Tensor, "b g c"]:
        """Queries after reading.

        Args:
            queries: Tokens to update.
            induced: From `induce`.
        """
        read, _ = self.output_attention(queries, induced, induced, need_weights=False)
        read = self.output_ln1(read + queries)
        return self.output_ln2(self.output_ff(read) + read)


def _feed_forward(channels: int, dropout: float) -> nn.Sequential:
    first, second = nn.Linear(channels, channels), nn.Linear(channels, channels)
    return nn.Sequential(first, nn.LeakyReLU(), second, nn.Dropout(dropout))
