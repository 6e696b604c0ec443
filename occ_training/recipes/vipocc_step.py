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
from occ_perception.geometry.rays import z_per_distance
from occ_perception.systems.vipocc.model import DensityNet, DepthBranch, ViPOcc
from occ_training.data.patches import Patches, colours_at, patch_rays
from occ_training.data.ray_colours import PosedImages, ray_colours, rebased
from occ_training.losses.photometric import edge_aware_smoothness, patch_error, relative_inverse
from occ_training.losses.rendering import (
    INVALID_POLICIES,
    RaySamples,
    best_view_error,
    depth_consistency,
)
from occ_training.losses.temporal import DepthView, temporal_alignment


@dataclass(frozen=True)
class LossWeights:
    """Weights and switches of the total; the defaults are ViPOcc's KITTI-360 training.

    Attributes:
        rgb: Photometric term. The official code adds it twice, as coarse and "fine" pass.
        recon: Predicted against rendered depth.
        temporal: Temporal alignment.
        smoothness: Edge-aware smoothness of the rendered distance (BTS).
        supervised: Depth branch against LiDAR depth (off in every published training).
        recon_version: See `depth_consistency`.
        invalid_policy: Key of `INVALID_POLICIES`.
    """

    rgb: float = 2.0
    recon: float = 0.005
    temporal: float = 0.01
    smoothness: float = 0.0
    supervised: float = 0.0
    recon_version: int = 1
    invalid_policy: str = "weight_guided"

    @classmethod
    def bts(cls) -> LossWeights:
        """The baseline's total."""
        return cls(recon=0.0, temporal=0.0, smoothness=0.001)


class MultiView(NamedTuple):
    """A batch of posed views; view 0 is the encoded one.

    Attributes:
        images: RGB -1..1.
        K: Normalised intrinsics.
        T_world_cam: World poses; re-base them with `rebased` before rendering.
        pseudo_depth_m: Pseudo depth of frames t and t+1 (views 0 and 1), metres, or None (BTS).
        lidar_depth_m: LiDAR depth of the same frames, 0 = none, or None.
    """

    images: Float[Tensor, "b v 3 h w"]
    K: Float[Tensor, "b v 3 3"]
    T_world_cam: Float[Tensor, "b v 4 4"]
    pseudo_depth_m: Float[Tensor, "b 2 1 h w"] | None = None
    lidar_depth_m: Float[Tensor, "b 2 1 h w"] | None = None


class Draws(NamedTuple):
    """Everything random of a step.

    Attributes:
        loss_views: Views that provide the target pixels.
        render_views: Views that provide the colours.
        colour_patches: Patches on the loss views (view = position in `loss_views`).
        depth_patches: Patches on view 0 for the depth consistency.
        colour_jitter: `[B, rays, K]` 0..1.
        depth_jitter: `[B, rays, K]` 0..1.
        flip: The encoder sees the mirrored image.
    """

    loss_views: list[int]
    render_views: list[int]
    colour_patches: Patches
    depth_patches: Patches
    colour_jitter: Float[Tensor, "b r k"]
    depth_jitter: Float[Tensor, "b r2 k"]
    flip: bool = False


class RenderedPatches(NamedTuple):
    """Rendered colour patches.

    Attributes:
        samples: Weights, visibility and colours of the samples.
        colours: Rendered colour per render view.
        distance_m: Rendered distance along the rays.
        target: Colours of the loss views.
    """

    samples: RaySamples
    colours: Float[Tensor, "b p y x r 3"]
    distance_m: Float[Tensor, "b p y x"]
    target: Float[Tensor, "b p y x 3"]


class StepResult(NamedTuple):
    """Loss terms of a step and what they were computed from.

    Attributes:
        total: What is minimised.
        terms: Unweighted terms.
        patches: Rendered colour patches.
        predicted_depth_m: `[B, 2, 1, H, W]` of the depth branch, None without one.
        consistency: Predicted and rendered depth at the depth patches, None without a branch.
    """

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]
    patches: RenderedPatches
    predicted_depth_m: Tensor | None
    consistency: tuple[Tensor, Tensor] | None


def render_patches(
    net: DensityNet, encoded: EncodedView, views: MultiView, poses: Tensor, draws: Draws
) -> RenderedPatches:
    """Render the drawn colour patches with colours of the render views."""
    loss, render = draws.loss_views, draws.render_views
    rays = patch_rays(draws.colour_patches, views.K[:, loss], poses[:, loss], views.images)
    seen = net.render(encoded, rays.flat, draws.colour_jitter)
    images = views.images * 0.5 + 0.5
    source = PosedImages(images[:, render], poses[:, render], views.K[:, render])
    samples, colours = ray_colours(seen, source)
    shape = rays.uv.shape[:-1]
    return RenderedPatches(
        RaySamples(*(part.unflatten(1, shape[1:]) for part in samples)),
        colours.unflatten(1, shape[1:]),
        seen.distance_m.view(shape),
        colours_at(images[:, loss], draws.colour_patches, rays),
    )


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
    net: DensityNet,
    encoded: EncodedView,
    views: MultiView,
    poses: Tensor,
    draws: Draws,
    depth: Tensor,
) -> tuple[Float[Tensor, "b p y x"], Float[Tensor, "b p y x"]]:
    """Predicted and rendered depth of view 0 at the depth patches, metres."""
    rays = patch_rays(draws.depth_patches, views.K[:, :1], poses[:, :1], views.images)
    seen = net.render(encoded, rays.flat, draws.depth_jitter)
    z = z_per_distance(rays.uv, views.K[:, 0, None, None, None])
    predicted = colours_at(depth[:, :1], draws.depth_patches, rays)[..., 0]
    return predicted, seen.distance_m.view(rays.uv.shape[:-1]) * z


def train_step(model: ViPOcc, views: MultiView, draws: Draws, weights: LossWeights) -> StepResult:
    """All losses of one batch.

    Args:
        model: ViPOcc, or BTS (without depth branch).
        views: The batch.
        draws: The step's random choices.
        weights: Weights of the terms.
    """
    poses = rebased(views.T_world_cam)
    hidden = model.density_net.encode(views.images[:, 0], flip=draws.flip)
    identity = torch.eye(4, device=poses.device).expand(len(poses), 4, 4)
    encoded = EncodedView(hidden, identity, views.K[:, 0])
    patches = render_patches(model.density_net, encoded, views, poses, draws)
    terms = colour_terms(patches, weights)
    depths = pair = None
    if model.depth_net is not None:
        depths = predict_depths(model.depth_net, views)
        pair = consistency_pair(model.density_net, encoded, views, poses, draws, depths)
        terms["recon"] = depth_consistency(*pair, weights.recon_version)
        frames = [
            DepthView(views.images[:, i], depths[:, i], views.T_world_cam[:, i]) for i in (0, 1)
        ]
        terms["temporal"] = temporal_alignment(frames[0], frames[1], views.K[:, 0])
        if weights.supervised and views.lidar_depth_m is not None:
            terms["supervised"] = supervised_depth(depths, views.lidar_depth_m)
    return StepResult(total_loss(terms, weights), terms, patches, depths, pair)


def colour_terms(patches: RenderedPatches, weights: LossWeights) -> dict[str, Tensor]:
    """Photometric term, smoothness, and the share of rays that no view can judge."""
    invalid = INVALID_POLICIES[weights.invalid_policy](patches.samples)
    error = patch_error(patches.colours, patches.target)
    terms = {"rgb": best_view_error(error, invalid), "invalid_ratio": invalid.float().mean()}
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
