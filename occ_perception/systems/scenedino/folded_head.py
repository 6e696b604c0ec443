"""Classes straight from the field's hidden layer, without making the wide features.

Expansion and head are linear maps around two kinks and one normalisation. With L the expansion's
last layer (its bias as one more column) and g its hidden layer (and a one), the feature is
L g / |L g|. Its length is that of the small R g where L = Q R, and every layer that reads the
feature is folded with L. What is left reads vectors of the expansion's width, not of the ViT's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.fields.pixel_field import PixelField
from occ_perception.systems.scenedino.model import Expansion
from occ_perception.systems.scenedino.semantic_head import SemanticHead, SemanticMode, unit

_SHORTEST = 1e-10  # of a feature before it is normalised


class Affine(NamedTuple):
    """A linear layer.

    Attributes:
        weight: Its matrix.
        bias: Its bias.
    """

    weight: Float[Tensor, "o i"]
    bias: Float[Tensor, " o"]

    def __call__(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """The layer."""
        return F.linear(x, self.weight, self.bias)


class FoldedHead:
    """The head of one mode for the weights of the moment.

    Args:
        field: Makes the hidden layer.
        expansion: Latents to features.
        head: Features to classes.
        mode: Way to the classes; the probes have to be linear.
    """

    def __init__(
        self, field: PixelField, expansion: Expansion, head: SemanticHead, mode: SemanticMode
    ) -> None:
        latent = Affine(field.lin_out.weight[1:], field.lin_out.bias[1:])
        self._head, self._mode = head, mode
        self._expand = _after(expansion.linear_in, latent)
        last = expansion.linear_out
        self._last = torch.cat([last.weight, last.bias[:, None]], dim=1)
        self._length = torch.linalg.qr(self._last.float(), mode="r").R
        stego = mode in (SemanticMode.STEGO_KMEANS, SemanticMode.STEGO_LINEAR)
        self._straight = self._folded(head.code.linear) if stego else None
        self._bent = self._folded(head.code.hidden) if stego else None
        self._direct = None if stego else self._direct_scores()

    def classes(self, hidden: Float[Tensor, "n hidden"]) -> Int[Tensor, " n"]:
        """What `SemanticHead.classes` says of the features of a hidden layer."""
        g = F.pad(F.relu(self._expand(hidden)), (0, 1), value=1.0)
        length = F.linear(g, self._length).norm(dim=-1, keepdim=True)
        g = g / length.clamp(min=_SHORTEST)
        if self._direct is not None:
            best = self._direct(g).argmax(dim=-1)
            clusters = self._head.direct_clusters
            return clusters.class_of(best) if self._mode is SemanticMode.DIRECT_KMEANS else best
        code = self._straight(g) + self._head.code.output(F.relu(self._bent(g)))
        if self._mode is SemanticMode.STEGO_LINEAR:
            return self._head.stego_linear(unit(code)).argmax(dim=-1)
        clusters = self._head.stego_clusters
        # The length of the code is the same for all centres.
        return clusters.class_of((code @ unit(clusters.centres).T).argmax(dim=-1))

    def _folded(self, layer: nn.Linear) -> Affine:
        """A layer that reads features, reading their source."""
        return Affine(layer.weight @ self._last, layer.bias)

    def _direct_scores(self) -> Affine:
        if self._mode is SemanticMode.DIRECT_LINEAR:
            return self._folded(self._head.direct_linear)
        centres = unit(self._head.direct_clusters.centres)
        return Affine(centres @ self._last, centres.new_zeros(len(centres)))


def _after(outer: nn.Linear, inner: Affine) -> Affine:
    """Both layers as one."""
    return Affine(outer.weight @ inner.weight, outer(inner.bias))
