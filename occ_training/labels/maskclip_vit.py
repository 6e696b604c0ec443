"""Dense features straight from CLIP's image encoder (MaskCLIP, Zhou et al. 2022).

In the last block every patch keeps its own value instead of attending to the others. Noisier than
the student trained on it, but needs no weights beyond CLIP's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.core.key_pairs import KeyPairs

_EPS = 1e-6  # MaskCLIP's; CLIP itself has 1e-5

NAMES = KeyPairs(
    (
        ("decode_head.clip.layers.*.attn.attn.", "blocks.*.attention."),
        ("decode_head.clip.layers.*.ffn.layers.0.0.", "blocks.*.mlp.0."),
        ("decode_head.clip.layers.*.ffn.layers.1.", "blocks.*.mlp.2."),
        ("decode_head.clip.layers.*.ln1.", "blocks.*.norm1."),
        ("decode_head.clip.layers.*.ln2.", "blocks.*.norm2."),
        ("decode_head.clip.patch_embed.projection.", "patch_embed."),
        ("decode_head.clip.ln0.", "norm_before."),
        ("decode_head.clip.ln1.", "norm_after."),
        ("decode_head.clip.", ""),
        ("decode_head.proj.", "project."),
    )
)


class DenseClip(NamedTuple):
    """Features of every patch.

    Attributes:
        vectors: Unit vectors in the space that CLIP shares with text.
        values: What they are projected from.
        tokens: What CLIP itself would have made of the patches.
        keys: Keys of the last block, patch by patch.
    """

    vectors: Float[Tensor, "b e h w"]
    values: Float[Tensor, "b c h w"]
    tokens: Float[Tensor, "b c h w"]
    keys: Float[Tensor, "b p c"]


class _Block(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(channels, _EPS) for _ in range(2))
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        wide = nn.Linear(channels, 4 * channels)
        self.mlp = nn.Sequential(wide, nn.GELU(), nn.Linear(4 * channels, channels))

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))

    def dense(
        self, x: Float[Tensor, "b t c"]
    ) -> tuple[Float[Tensor, "b t c"], Float[Tensor, "b t c"]]:
        """Every token's own value behind the block, and its key."""
        attention = self.attention
        projected = F.linear(self.norm1(x), attention.in_proj_weight, attention.in_proj_bias)
        _, key, value = (attention.out_proj(part) for part in projected.chunk(3, dim=-1))
        value = value + x
        return value + self.mlp(self.norm2(value)), key


class MaskClipViT(nn.Module):
    """CLIP's ViT-B/16 with dense output.

    Args:
        channels: Width of the tokens.
        depth: Number of blocks.
        heads: Attention heads.
        patch: Edge of a patch, pixels.
        grid: Patches along an edge of the images that CLIP was trained on.
        embedding: Width of the space shared with text.
    """

    def __init__(
        self,
        channels: int = 768,
        depth: int = 12,
        heads: int = 12,
        patch: int = 16,
        grid: int = 14,
        embedding: int = 512,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, channels, patch, patch, bias=False)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, grid**2 + 1, channels))
        self.norm_before, self.norm_after = (nn.LayerNorm(channels, _EPS) for _ in range(2))
        self.blocks = nn.ModuleList(_Block(channels, heads) for _ in range(depth))
        self.project = nn.Conv2d(channels, embedding, 1, bias=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> DenseClip:
        """Features of every patch.

        Args:
            images: RGB, normalised with CLIP's statistics; sides are multiples of the patch.
        """
        patches = self.patch_embed(images)
        size = patches.shape[2:]
        tokens = patches.flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        x = self.norm_before(tokens + self._positions(size))
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        values, keys = last.dense(x)
        values, tokens = (
            self.norm_after(t)[:, 1:].mT.unflatten(2, size) for t in (values, last(x))
        )
        vectors = F.normalize(self.project(values), dim=1)
        return DenseClip(vectors, values, tokens, keys[:, 1:])

    def _positions(self, size: tuple[int, int]) -> Float[Tensor, "1 t c"]:
        """Position embedding, resized to the patches of this image."""
        own, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        edge = round(patches.shape[1] ** 0.5)
        resized = F.interpolate(patches.mT.unflatten(2, (edge, edge)), size=size, mode="bicubic")
        return torch.cat([own, resized.flatten(2).mT], dim=1)
