"""One training step of ViPOcc and BTS: from eight views to the losses (specification 4.2, 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.core.errors import ConfigError
from occ_perception.geometry.rays import corner_grid, z_per_distance
from occ_perception.systems.vipocc.model import DensityNet, DepthBranch, ViPOcc
from occ_training.data.patches import Patches, colours_at, patch_rays
from occ_training.data.views import MultiView, view_zero
from occ_training.losses.photometric import edge_aware_smoothness, relative_inverse
from occ_training.losses.rendering import depth_consistency
from occ_training.losses.temporal import DepthView, temporal_alignment
from occ_training.recipes.rendered_patches import PatchDraws, RenderedPatches, render_patches


@dataclass(frozen=True)
class LossWeights:
    """Weights and switches of the total; the defaults are ViPOcc's KITTI-360 training.

    Attributes:
        rgb: Photometric term. The official code adds it twice, as coarse and "fine" pass.
        recon: Predicted against rendered depth.
        temporal: Temporal alignment.
        smoothness: Edge-aware smoothness of the rendered distance (BTS).
        supervised: Depth branch against LiDAR depth (off in every published training).
        sight: Density at cells that a LiDAR's beams end in or pass (not published).
        recon_version: See `depth_consistency`.
        invalid_policy: Key of `INVALID_POLICIES`.
    """

    rgb: float = 2.0
    recon: float = 0.005
    temporal: float = 0.01
    smoothness: float = 0.0
    supervised: float = 0.0
    sight: float = 0.0
    recon_version: int = 1
    invalid_policy: str = "weight_guided"

    @classmethod
    def bts(cls) -> LossWeights:
        """The baseline's total."""
        return cls(recon=0.0, temporal=0.0, smoothness=0.001)


class Draws(NamedTuple):
    """Everything random of a step.

    Attributes:
        colour: Patches with colours.
        depth_patches: Patches on view 0 for the depth consistency.
        depth_jitter: Place of their samples within their intervals, 0..1.
        flip: The encoder sees the mirrored image.
    """

    colour: PatchDraws
    depth_patches: Patches
    depth_jitter: Float[Tensor, "b r k"]
    flip: bool = False


class StepResult(NamedTuple):
    """Loss terms of a step and what they were computed from.

    Attributes:
        total: What is minimised.
        terms: Unweighted terms.
        encoded: The encoded view.
        patches: Rendered colour patches.
        predicted_depth_m: `[B, 2, 1, H, W]` of the depth branch, None without one.
        consistency: Predicted and rendered depth at the depth patches, None without a branch.
    """

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]
    encoded: EncodedView
    patches: RenderedPatches
    predicted_depth_m: Tensor | None
    consistency: tuple[Tensor, Tensor] | None


def predict_depths(net: DepthBranch, views: MultiView) -> Float[Tensor, "b 2 1 h w"]:
    """Depth branch on frames t and t+1, as one batch (joint batch statistics).

    Raises:
        ConfigError: The batch has no pseudo depth.
    """
    if views.pseudo_depth_m is None:
        raise ConfigError(
            "this batch has no pseudo depth, which the depth branch corrects; label the bags with "
            "it or train without the branch (depth_branch: false)"
        )
    images = views.images[:, :2].transpose(0, 1).flatten(0, 1)
    pseudo = views.pseudo_depth_m.transpose(0, 1).flatten(0, 1)
    return net(images, pseudo).unflatten(0, (2, -1)).transpose(0, 1)


def consistency_pair(
    net: DensityNet, encoded: EncodedView, draws: Draws, depth_m: Float[Tensor, "b 1 h w"]
) -> tuple[Float[Tensor, "b p y x"], Float[Tensor, "b p y x"]]:
    """Predicted and rendered depth of view 0 at the depth patches, metres."""
    K, uv_map = encoded.K[:, None], corner_grid(*depth_m.shape[-2:], device=depth_m.device)
    rays = patch_rays(draws.depth_patches, K, encoded.T_cam_world[:, None], uv_map)
    seen = net.render(encoded, rays.flat, draws.depth_jitter)
    predicted = colours_at(depth_m[:, None], draws.depth_patches, rays)[..., 0]
    z = z_per_distance(rays.uv, K[:, :, None, None])
    return predicted, seen.distance_m.view_as(z) * z


def train_step(model: ViPOcc, views: MultiView, draws: Draws, weights: LossWeights) -> StepResult:
    """All losses of one batch.

    Args:
        model: ViPOcc, or BTS (without depth branch).
        views: The batch.
        draws: The step's random choices.
        weights: Weights of the terms.
    """
    net = model.density_net
    encoded = view_zero(net.encode(views.images[:, 0], flip=draws.flip), views)
    uv_map = corner_grid(*views.size, device=views.K.device)
    patches = render_patches(net.render, encoded, views, draws.colour, uv_map)
    terms = colour_terms(patches, weights)
    depths = pair = None
    if model.depth_net is not None:
        depths = predict_depths(model.depth_net, views)
        pair = consistency_pair(net, encoded, draws, depths[:, 0])
        terms["recon"] = depth_consistency(*pair, weights.recon_version)
        now, after = (
            DepthView(views.images[:, i], depths[:, i], views.T_world_cam[:, i]) for i in (0, 1)
        )
        terms["temporal"] = temporal_alignment(now, after, views.K[:, 0])
        if weights.supervised and views.lidar_depth_m is not None:
            terms["supervised"] = supervised_depth(depths, views.lidar_depth_m)
    return StepResult(total_loss(terms, weights), terms, encoded, patches, depths, pair)


def colour_terms(patches: RenderedPatches, weights: LossWeights) -> dict[str, Tensor]:
    """Photometric term, smoothness, and the share of rays that no view can judge."""
    rgb, invalid = patches.photometric(weights.invalid_policy)
    terms = {"rgb": rgb, "invalid_ratio": invalid.float().mean()}
    if weights.smoothness:
        guide = patches.target.flatten(0, 1).permute(0, 3, 1, 2)
        signal = relative_inverse(patches.distance_m).flatten(0, 1)[:, None]
        smooth = edge_aware_smoothness(signal, guide)
        terms["smoothness"] = (smooth * ~invalid.flatten(0, 1)).mean()
    return terms


def supervised_depth(predicted_m: Tensor, lidar_m: Tensor) -> Float[Tensor, ""]:
    """Absolute difference to LiDAR depth where there is one."""
    hit = lidar_m > 0
    return ((predicted_m - lidar_m).abs() * hit).sum() / hit.sum().clamp(min=1)


def total_loss(terms: Mapping[str, Tensor], weights: LossWeights) -> Float[Tensor, ""]:
    """Weighted sum of the terms that have a weight."""
    weighted = [
        getattr(weights, name) * value for name, value in terms.items() if hasattr(weights, name)
    ]
    return torch.stack(weighted).sum()
