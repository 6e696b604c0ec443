"""CLIP's text encoder (Radford et al. 2021), on open_clip; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from open_clip import tokenize
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn

CONTEXT = 77


class TextTower(nn.Module):
    """The text half of OpenAI's CLIP; its entries carry the names of the official files.

    ViT-B/32 and ViT-B/16 share these sizes (not the weights); ViT-L/14 is wider.

    Args:
        width: Channels of the transformer and of the joint space.
        layers: Blocks of the transformer.
        heads: Attention heads.
    """

    def __init__(self, width: int = 512, layers: int = 12, heads: int = 8) -> None:
        super().__init__()
        self.channels = width
        self.transformer = TextTransformer(
            context_length=CONTEXT,
            width=width,
            heads=heads,
            layers=layers,
            output_dim=width,
            act_layer=QuickGELU,  # OpenAI's weights were trained with it
        )

    def forward(self, tokens: Int[Tensor, "n 77"]) -> Float[Tensor, "n c"]:
        """Vectors of tokenised texts, not normalised."""
        return self.transformer(tokens)

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "n c"]:
        """Vectors of texts, not normalised.

        Args:
            texts: At most 75 tokens count of each.
        """
        return self(tokens_of(texts).to(self.transformer.positional_embedding.device))


def tokens_of(texts: Sequence[str]) -> Int[Tensor, "n 77"]:
    """Byte-pair tokens between start (49406) and end (49407), filled up with 0."""
    return tokenize(list(texts), CONTEXT)
