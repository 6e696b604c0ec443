"""From voxel features to density and words."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError


class PointHead(nn.Sequential):
    """The same MLP at every voxel, `[..., C]` to `[..., out]`."""

    def __init__(self, channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Linear(channels, channels), nn.ReLU()]
        super().__init__(*layers, nn.Linear(channels, out_channels))
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def hidden(self, features: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """What the last layer sees."""
        for layer in list(self)[:-1]:
            features = layer(features)
        return features


class FoldedPrompts(NamedTuple):
    """Prompts multiplied into the last layer of the language head.

    The length of a voxel's vector does not change which prompt fits best, so neither the vector nor
    its length are ever computed: as many outputs as prompts instead of CLIP's 512.

    Attributes:
        weight: Last layer, prompt by prompt.
        bias: Its bias.
        class_ids: Class id of every prompt.
    """

    weight: Float[Tensor, "n c"]
    bias: Float[Tensor, " n"]
    class_ids: Int[Tensor, " n"]

    def classify(self, hidden: Float[Tensor, "*b c"]) -> UInt8[Tensor, "*b"]:
        """Class of the prompt that fits best.

        Args:
            hidden: From `PointHead.hidden`.
        """
        scores = torch.nn.functional.linear(hidden, self.weight, self.bias)
        return self.class_ids[scores.argmax(dim=-1)].to(torch.uint8)


def fold_prompts(
    head: PointHead, embeddings: Float[Tensor, "n e"], class_ids: Int[Tensor, " n"]
) -> FoldedPrompts:
    """Multiply text embeddings into a language head.

    Args:
        head: The language head.
        embeddings: Unit vectors in the head's space (reduced where the head is).
        class_ids: Class id of every embedding.

    Raises:
        ConfigError: The embeddings are of another space.
    """
    last = head[-1]
    if embeddings.shape[1] != last.out_features:
        raise ConfigError(
            f"text embeddings have {embeddings.shape[1]} values, this model speaks "
            f"{last.out_features}; encode the prompts with the CLIP that it was trained with"
        )
    embeddings = embeddings.to(last.weight)
    return FoldedPrompts(
        embeddings @ last.weight, embeddings @ last.bias, class_ids.to(last.weight.device)
    )


def similarity(
    head: PointHead, hidden: Float[Tensor, "*b c"], embeddings: Float[Tensor, "n e"]
) -> Float[Tensor, "*b n"]:
    """Cosine of every voxel with every text embedding, -1..1.

    Args:
        head: The language head.
        hidden: From `PointHead.hidden`.
        embeddings: Unit vectors in the head's space.
    """
    vectors = head[-1](hidden)
    length = vectors.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    return vectors @ embeddings.to(vectors).T / length
