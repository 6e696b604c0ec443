"""Patches of pixels rendered through a field with the colours of other views."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.blocks.fields.view_colours import sample_views
from occ_perception.geometry.rays import Rays
from occ_perception.rendering.volume import RenderedRays, expected
from occ_training.data.patches import Patches, colours_at, patch_rays
from occ_training.data.views import MultiView, Partition, rebased
from occ_training.losses.photometric import patch_error
from occ_training.losses.rendering import INVALID_POLICIES, RaySamples, best_view_error

Render = Callable[[EncodedView, Rays, Tensor], RenderedRays]


class PatchDraws(NamedTuple):
    """What is random about rendered patches.

    Attributes:
        partition: Roles of the views.
        patches: Patches on the loss views (view = position in `partition.loss`).
        jitter: Place of the samples within their intervals, 0..1.
    """

    partition: Partition
    patches: Patches
    jitter: Float[Tensor, "b r k"]


class RenderedPatches(NamedTuple):
    """Rendered patches.

    Attributes:
        samples: Weights, visibility and colours of the samples.
        colours: Rendered colour per render view.
        distance_m: Rendered distance along the rays.
        latent: Rendered latent.
        target: Colours of the loss views.
    """

    samples: RaySamples
    colours: Float[Tensor, "b p y x r 3"]
    distance_m: Float[Tensor, "b p y x"]
    latent: Float[Tensor, "b p y x l"]
    target: Float[Tensor, "b p y x 3"]

    def photometric(self, invalid_policy: str) -> tuple[Float[Tensor, ""], Bool[Tensor, "b p y x"]]:
        """The photometric term, and the rays that no view can judge.

        Args:
            invalid_policy: Key of `INVALID_POLICIES`.
        """
        invalid = INVALID_POLICIES[invalid_policy](self.samples)
        return best_view_error(patch_error(self.colours, self.target), invalid), invalid


def render_patches(
    render: Render,
    encoded: EncodedView,
    views: MultiView,
    draws: PatchDraws,
    uv_map: Float[Tensor, "h w 2"],
) -> RenderedPatches:
    """Render the drawn patches.

    Args:
        render: The system's way to render rays of an encoded view.
        encoded: The encoded view.
        views: All views, with world poses.
        draws: Random choices.
        uv_map: Normalised coordinates of the pixels.
    """
    (loss, source), patches, jitter = draws
    poses, images = rebased(views.T_world_cam), views.images * 0.5 + 0.5
    rays = patch_rays(patches, views.K[:, loss], poses[:, loss], uv_map)
    seen = render(encoded, rays.flat, jitter)
    lent = sample_views(
        images[:, source],
        seen.points.flatten(1, 2),
        torch.linalg.inv(poses[:, source]),
        views.K[:, source],
    )
    shape = (*rays.rows.shape[1:], jitter.shape[-1])
    colours = lent.colours.unflatten(1, shape)
    outside = lent.outside.unflatten(1, shape) | seen.outside.unflatten(1, shape[:-1])[..., None]
    weights = seen.weights.unflatten(1, shape[:-1])
    return RenderedPatches(
        RaySamples(weights, outside, colours),
        expected(weights, colours.flatten(-2)).unflatten(-1, (-1, 3)),
        seen.distance_m.unflatten(1, shape[:-1]),
        seen.latent.unflatten(1, shape[:-1]),
        colours_at(images[:, loss], patches, rays),
    )
