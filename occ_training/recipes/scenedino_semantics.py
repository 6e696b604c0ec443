"""One training step of SceneDINO's second stage: the semantic head (specification 4.2)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import FieldValues
from occ_perception.geometry.rays import Rays
from occ_perception.systems.scenedino.semantic_head import SemanticHead, drop_channels, unit
from occ_training.losses.stego import (
    NEIGHBOUR,
    RANDOM,
    SELF,
    CropBuffer,
    cluster_loss,
    correlation,
    correlation_loss,
    probe_loss,
)

NEIGHBOURS = 4
_DROPOUT = 0.1
_DEPTH_QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_DEEPEST_M = 100.0
_RADIUS_M, _LEAST_DENSITY, _OVERSAMPLING = 0.5, 0.5, 4


class PartnerDraws(NamedTuple):
    """Random partners of new crops.

    Attributes:
        neighbour: Which of the nearest crops.
        other: Row of the buffer.
    """

    neighbour: Int[Tensor, " n"]
    other: Int[Tensor, " n"]


def draw_partners(crops: int, buffer: CropBuffer, generator: torch.Generator) -> PartnerDraws:
    """Random partners, once `crops` new crops are in the buffer."""
    filled = min(len(buffer.means), buffer.filled + crops)
    return PartnerDraws(
        torch.randint(NEIGHBOURS, (crops,), generator=generator),
        torch.randint(filled, (crops,), generator=generator),
    )


class Correlations(NamedTuple):
    """Correlations of crops with themselves or a partner.

    Attributes:
        features: Of the frozen features.
        codes: Of the codes.
    """

    features: Float[Tensor, "n s t"]
    codes: Float[Tensor, "n s t"]


def correlate_crops(
    head: SemanticHead,
    buffer: CropBuffer,
    crops: Float[Tensor, "n s c"],
    draws: PartnerDraws,
    dropout: float = _DROPOUT,
) -> dict[str, Correlations]:
    """Put crops into the buffer and correlate them with themselves, a neighbour and any crop.

    Args:
        head: The head in training.
        buffer: Earlier crops; gains the new ones.
        crops: Features of new crops.
        draws: Partners.
        dropout: Probability of dropping a channel of a crop.
    """
    new = drop_channels(unit(crops), dropout, head.training)
    means = unit(new.mean(dim=1))
    buffer.add(new, means)
    partners = {
        "self": new,
        "knn": buffer.neighbours(means, draws.neighbour),
        "random": buffer.features[draws.other],
    }
    codes = head.code(new)
    return {
        name: Correlations(
            correlation(new, partner),
            correlation(codes, codes if name == "self" else head.code(partner)),
        )
        for name, partner in partners.items()
    }


def distillation_terms(pairs: Mapping[str, Correlations]) -> dict[str, Tensor]:
    """The three distillation losses."""
    weights = {"self": SELF, "knn": NEIGHBOUR, "random": RANDOM}
    return {name: correlation_loss(*pairs[name], weights[name]) for name in weights}


def probing_terms(
    head: SemanticHead,
    features: Float[Tensor, "b h w c"],
    labels: Int[Tensor, "b h w"] | None,
    dropout: float = _DROPOUT,
) -> dict[str, Tensor]:
    """Losses of clusters and linear probes; nothing reaches the codes or the field.

    Args:
        head: The head in training.
        features: Rendered features of the input views.
        labels: Train ids of their pixels (-1 = ignore), None = no labels.
        dropout: Probability of dropping a channel of an image.
    """
    features = unit(features.detach())
    codes = head.code(features.flatten(1, 2)).detach().view(*features.shape[:-1], -1)
    dropped = drop_channels(features.flatten(1, 2), dropout, head.training).view_as(features)
    terms = {
        "direct_cluster": cluster_loss(head.direct_clusters(dropped)),
        "stego_cluster": cluster_loss(head.stego_clusters(codes)),
    }
    if labels is not None:
        terms["direct_linear"] = probe_loss(head.direct_linear(dropped), labels)
        terms["stego_linear"] = probe_loss(head.stego_linear(codes), labels)
    return terms


def crop_centres(
    distance_m: Float[Tensor, " r"], rays: Rays, generator: torch.Generator
) -> Float[Tensor, "n 3"]:
    """One random surface point in each fifth of the rendered distances, metres.

    Args:
        distance_m: Rendered distance of all pixels.
        rays: Their rays `[R, 3]`.
        generator: Source of randomness.
    """
    near = distance_m[distance_m < _DEEPEST_M]
    limits = near.quantile(near.new_tensor(_DEPTH_QUANTILES))
    chosen = []
    for low, high in itertools.pairwise(limits):
        inside = ((distance_m > low) & (distance_m < high)).nonzero()[:, 0]
        if len(inside):
            chosen.append(inside[torch.randint(len(inside), (1,), generator=generator)])
    index = torch.cat(chosen)
    return rays.origins[index] + distance_m[index, None] * rays.directions[index]


def ball_offsets(
    count: int, radius_m: float, generator: torch.Generator
) -> Float[Tensor, "count 3"]:
    """Points distributed evenly in a ball, metres."""
    directions = unit(torch.randn(count, 3, generator=generator))
    return directions * radius_m * torch.rand(count, 1, generator=generator) ** (1 / 3)


def sample_crops(
    centres: Float[Tensor, "n 3"],
    field: Callable[[Tensor], FieldValues],
    samples: int,
    generator: torch.Generator,
) -> Float[Tensor, "k s l"]:
    """Latents on surfaces around centres; centres with too few surface points are left out.

    Args:
        centres: Surface points, metres.
        field: Answers points `[1, M, 3]` of the same frame.
        samples: Samples per crop.
        generator: Source of randomness.
    """
    drawn = _OVERSAMPLING * samples
    offsets = ball_offsets(len(centres) * drawn, _RADIUS_M, generator).to(centres.device)
    points = centres[:, None] + offsets.view(len(centres), drawn, 3)
    values = field(points.view(1, -1, 3))
    dense = values.density.view(len(centres), drawn) > _LEAST_DENSITY
    latents = values.latent.view(len(centres), drawn, -1)
    crops = [latent[hit][:samples] for latent, hit in zip(latents, dense, strict=True)]
    kept = [crop for crop, hit in zip(crops, dense, strict=True) if int(hit.sum()) > samples]
    return torch.stack(kept) if kept else latents.new_zeros(0, samples, latents.shape[-1])
