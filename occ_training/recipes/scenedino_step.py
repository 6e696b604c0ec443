"""One training step of SceneDINO's first stage: the feature field (specification 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.geometry.rays import centre_grid
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.targets import FeatureTargets
from occ_training.data.patches import GridCells, Patches, moved_grid
from occ_training.data.views import MultiView, Partition, view_zero
from occ_training.labels.patch_features import FrozenTwin, PatchQuery, PatchTeacher, Surfaces
from occ_training.losses.features import distance_smoothness, feature_loss, feature_smoothness
from occ_training.losses.rendering import concentration
from occ_training.recipes.rendered_patches import PatchDraws, RenderedPatches, render_patches


@dataclass(frozen=True)
class LossWeights:
    """Weights and switches of the total; the defaults are the published training.

    Attributes:
        rgb: Photometric term.
        feature: Rendered against target features.
        smoothness: Edge-aware smoothness of the distance.
        feature_smoothness: Edge-aware smoothness of the rendered features.
        sight: Density at cells that a LiDAR's beams end in or pass (not published).
        concentration: See `losses.rendering.concentration`; not published, it makes surfaces sharp
            early in short trainings.
        invalid_policy: Key of `INVALID_POLICIES`.
        published_pairing: See `distance_smoothness`.
    """

    rgb: float = 1.0
    feature: float = 0.2
    smoothness: float = 0.001
    feature_smoothness: float = 0.25
    sight: float = 0.0
    concentration: float = 0.0
    invalid_policy: str = "weight_guided"
    published_pairing: bool = False


class Draws(NamedTuple):
    """Everything random of a step.

    Attributes:
        partition: Roles of the views.
        cells: Cells of the ViT's grid on the loss views.
        shift: Rows and columns by which that grid is moved, pixels.
        jitter: Place of the samples within their intervals, 0..1.
        flip: The encoder sees the mirrored image.
    """

    partition: Partition
    cells: GridCells
    shift: tuple[int, int]
    jitter: Float[Tensor, "b r k"]
    flip: bool = False


class RenderedFeatures(NamedTuple):
    """Rendered features and what they are compared with.

    Attributes:
        pixels: Unit features of the patches' pixels.
        pooled: Unit features of the patches.
        artifacts: What the ViT adds at the patches' cells.
        target: Features of the ViT.
    """

    pixels: Float[Tensor, "b p y x c"]
    pooled: Float[Tensor, "b p c"]
    artifacts: Float[Tensor, "b p c"]
    target: Float[Tensor, "b p c"]


class Taught(NamedTuple):
    """Who says what the features shall be.

    Attributes:
        teacher: Gives the features of patches.
        surfaces: What is really there, for stand-ins.
    """

    teacher: PatchTeacher
    surfaces: Surfaces | None = None


class StepResult(NamedTuple):
    """Loss terms of a step and what they were computed from.

    Attributes:
        total: What is minimised.
        terms: Unweighted terms.
        encoded: The encoded view.
        patches: Rendered patches.
        features: Rendered features.
    """

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]
    encoded: EncodedView
    patches: RenderedPatches
    features: RenderedFeatures


def train_step(
    model: SceneDino,
    targets: FeatureTargets,
    views: MultiView,
    draws: Draws,
    weights: LossWeights,
    taught: Taught | None = None,
) -> StepResult:
    """All losses of one batch.

    Args:
        model: The network.
        targets: Frozen ViT, downsampler and artefact field.
        views: The batch.
        draws: The step's random choices.
        weights: Weights of the terms.
        taught: Another teacher than the frozen ViT.
    """
    teacher, surfaces = taught or Taught(FrozenTwin(targets))
    encoded = view_zero(model.encode(views.images[:, 0], flip=draws.flip), views)
    pixels, cells = moved_grid(draws.cells, draws.shift, model.config.patch)
    uv_map = centre_grid(*views.size, device=views.K.device)
    colour = PatchDraws(draws.partition, pixels, draws.jitter)
    patches = render_patches(model.render, encoded, views, colour, uv_map)
    expanded = model.expansion(patches.latent)
    features = RenderedFeatures(
        expanded,
        targets.downsampler(expanded),
        targets.artifacts[:, cells.row, cells.column].movedim(0, -1),
        teacher(patch_query(views, draws, cells, pixels, surfaces)),
    )
    terms = loss_terms(patches, features, weights)
    return StepResult(total_loss(terms, weights), terms, encoded, patches, features)


def patch_query(
    views: MultiView,
    draws: Draws,
    cells: GridCells,
    pixels: Patches,
    surfaces: Surfaces | None = None,
) -> PatchQuery:
    """What a teacher is asked in a step.

    Args:
        views: The batch.
        draws: The step's random choices.
        cells: Cells of the moved grid.
        pixels: Their pixels.
        surfaces: Of all views, for stand-ins.
    """
    loss = draws.partition.loss
    seen = None if surfaces is None else Surfaces(*(maps[:, loss] for maps in surfaces))
    images, K, poses = (x[:, loss] for x in (views.images, views.K, views.T_world_cam))
    return PatchQuery(images, K, poses, cells, pixels, draws.shift, seen)


def loss_terms(
    patches: RenderedPatches, features: RenderedFeatures, weights: LossWeights
) -> dict[str, Tensor]:
    """Unweighted terms of rendered patches and features."""
    terms = {
        "rgb": patches.photometric(weights.invalid_policy)[0],
        "feature": feature_loss(features.pooled, features.artifacts, features.target),
        "smoothness": distance_smoothness(
            patches.distance_m, patches.target, weights.published_pairing
        ),
        "feature_smoothness": feature_smoothness(features.pixels, patches.target),
    }
    if weights.concentration:
        terms["concentration"] = concentration(patches.samples.weights)
    return terms


def total_loss(terms: Mapping[str, Tensor], weights: LossWeights) -> Float[Tensor, ""]:
    """Weighted sum of the terms."""
    return torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
