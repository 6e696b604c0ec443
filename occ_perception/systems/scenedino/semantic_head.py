"""Classes from features: distilled codes (STEGO, Hamilton et al. 2022), clusters, linear probes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-10


class SemanticMode(StrEnum):
    """Ways to a class; `STEGO_KMEANS` is the published unsupervised one."""

    STEGO_KMEANS = "stego_kmeans"
    STEGO_LINEAR = "stego_linear"
    DIRECT_KMEANS = "direct_kmeans"
    DIRECT_LINEAR = "direct_linear"


def unit(x: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch c"]:
    """Unit length over the last axis."""
    return F.normalize(x, dim=-1, eps=_EPS)


class CodeHead(nn.Module):
    """Features to distilled unit codes: a linear path plus a nonlinear one.

    Args:
        channels: Channels of the features.
        code_channels: Channels of the codes.
        dropout: Probability of dropping a channel of a set of samples.
    """

    def __init__(self, channels: int, code_channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, code_channels)
        self.hidden = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, code_channels)
        self.dropout = dropout

    def forward(self, features: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch k"]:
        """Unit codes; the second last axis holds the samples that drop a channel together."""
        straight = drop_channels(self.linear(features), self.dropout, self.training)
        bent = self.output(F.relu(self.hidden(features)))
        return unit(straight + drop_channels(bent, self.dropout, self.training))


def drop_channels(
    x: Float[Tensor, "*batch c"], probability: float, training: bool
) -> Float[Tensor, "*batch c"]:
    """Drop channels of all samples along the second last axis together."""
    if not training or probability == 0 or x.dim() < 2:
        return x
    keep = torch.rand(*x.shape[:-2], 1, x.shape[-1], device=x.device) >= probability
    return x * keep / (1 - probability)


class ClusterHead(nn.Module):
    """Cosine clusters, and which class each of them stands for.

    Args:
        channels: Channels of the features.
        clusters: Number of clusters.
    """

    assignment: Tensor

    def __init__(self, channels: int, clusters: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(clusters, channels))
        self.register_buffer("assignment", torch.arange(clusters))

    def forward(self, features: Float[Tensor, "*batch c"]) -> Float[Tensor, "*batch k"]:
        """Cosine with every centre."""
        return unit(features) @ unit(self.centres).T

    def class_of(self, cluster: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Class of a cluster."""
        return self.assignment[cluster]


def linear_probe(channels: int, classes: int, mlp: bool = False) -> nn.Module:
    """Supervised probe on frozen features; the MLP is a variant that no published model uses."""
    if not mlp:
        return nn.Linear(channels, classes)
    return nn.Sequential(
        nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, classes)
    )


class SemanticOutput(NamedTuple):
    """All answers of the head.

    Attributes:
        codes: Distilled codes.
        stego_clusters: Cosines of the codes with their centres.
        direct_clusters: Cosines of the features with theirs.
        stego_logits: Linear probe on the codes.
        direct_logits: Linear probe on the features.
    """

    codes: Float[Tensor, "*batch d"]
    stego_clusters: Float[Tensor, "*batch k"]
    direct_clusters: Float[Tensor, "*batch k"]
    stego_logits: Float[Tensor, "*batch k"]
    direct_logits: Float[Tensor, "*batch k"]


class SemanticHead(nn.Module):
    """Everything that stage 2 trains.

    Args:
        channels: Channels of the features.
        code_channels: Channels of the codes.
        classes: Clusters and classes.
        mlp_probes: Probes with a hidden layer.
    """

    def __init__(
        self, channels: int, code_channels: int, classes: int, mlp_probes: bool = False
    ) -> None:
        super().__init__()
        self.code = CodeHead(channels, code_channels)
        self.stego_clusters = ClusterHead(code_channels, classes)
        self.direct_clusters = ClusterHead(channels, classes)
        self.stego_linear = linear_probe(code_channels, classes, mlp_probes)
        self.direct_linear = linear_probe(channels, classes, mlp_probes)

    def forward(self, features: Float[Tensor, "*batch c"]) -> SemanticOutput:
        """All answers for unit features."""
        features = unit(features)
        codes = self.code(features)
        return SemanticOutput(
            codes,
            self.stego_clusters(codes),
            self.direct_clusters(features),
            self.stego_linear(codes),
            self.direct_linear(features),
        )

    def classes(
        self, features: Float[Tensor, "*batch c"], mode: SemanticMode = SemanticMode.STEGO_KMEANS
    ) -> Int[Tensor, "*batch"]:
        """Class ids of features; only what the mode needs is computed."""
        features = unit(features)
        if mode is SemanticMode.DIRECT_LINEAR:
            return self.direct_linear(features).argmax(dim=-1)
        if mode is SemanticMode.DIRECT_KMEANS:
            return self.direct_clusters.class_of(self.direct_clusters(features).argmax(dim=-1))
        codes = self.code(features)
        if mode is SemanticMode.STEGO_LINEAR:
            return self.stego_linear(codes).argmax(dim=-1)
        return self.stego_clusters.class_of(self.stego_clusters(codes).argmax(dim=-1))
