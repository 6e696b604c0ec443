"""Matching a view with the same camera's earlier view: plane sweep over the depth bins."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from occ_perception.geometry.precision import single_precision

_NEAREST_M = 1e-3  # points nearer than this, or behind the earlier camera, match nothing
_NOWHERE = -2.0  # a position outside of any map, which runs from -1 to 1
_UNSEEN_COST = 5.0
_FEATURES_AT_ONCE = (2**24, 2**29)  # sampled at a time: what suits a CPU's cache, a GPU's memory


def sweep_maps(
    K: Float[Tensor, "*b 3 3"],
    T_earlier_now: Float[Tensor, "*b 4 4"],
    image_transform: Float[Tensor, "*b 3 3"],
    image_size: tuple[int, int],
) -> Float[Tensor, "*b 3 4"]:
    """One map per camera that takes a pixel and its depth to the earlier view.

    With `M = map[:, :3] @ (u, v, 1) * depth + map[:, 3]` the position in the earlier map is
    `M[:2] / M[2]`, from -1 to 1 between the outermost cells. Unprojection, motion, projection and
    image fit are all linear in that sense, so they are composed here, in float64.

    Args:
        K: Intrinsics of the source images, pixels; also those of the earlier images.
        T_earlier_now: From the camera now to the same camera earlier, metres.
        image_transform: Source pixels to network pixels.
        image_size: Height and width of the network images.
    """
    K, motion, fit = (m.double() for m in (K, T_earlier_now, image_transform))
    height, width = image_size
    centred = fit.new_tensor([[2 / (width - 1), 0, -1], [0, 2 / (height - 1), -1], [0, 0, 1]])
    to_map = centred @ fit @ K
    turn = to_map @ motion[..., :3, :3] @ torch.linalg.inv(fit @ K)
    return torch.cat([turn, to_map @ motion[..., :3, 3:]], dim=-1).float()


def sweep_positions(
    frustum: Float[Tensor, "d h w 3"], maps: Float[Tensor, "n 3 4"]
) -> Float[Tensor, "n d h w 2"]:
    """Where every depth bin of every pixel is in the earlier view.

    Args:
        frustum: Pixels and depths, from `lss.image_frustum`.
        maps: From `sweep_maps`.
    """
    pixel = torch.cat([frustum[0, ..., :2], torch.ones_like(frustum[0, ..., :1])], dim=-1)
    with single_precision(maps):
        ray = torch.einsum("nij,hwj->nihw", maps[..., :3], pixel)
    depth = frustum[:, 0, 0, 2]
    x, y, z = (ray[:, :, None] * depth[:, None, None] + maps[..., 3, None, None, None]).unbind(1)
    position = torch.stack([x / z, y / z], dim=-1)
    return torch.where((z < _NEAREST_M)[..., None], _NOWHERE, position)


@torch.no_grad()
def match_earlier(
    now: Float[Tensor, "n c h w"],
    earlier: Float[Tensor, "n c h w"],
    positions: Float[Tensor, "n d h w 2"],
    group: int,
) -> Float[Tensor, "n d h w"]:
    """Distribution over the depth bins from the distance of matched features; no gradient.

    Args:
        now: Features of the views.
        earlier: Features of the same cameras earlier.
        positions: From `sweep_positions`.
        group: Channels per group of the published kernel, which tells unseen points by the first
            channel of the last group being exactly zero. True zeros behind a ReLU are taken for
            unseen as well; the network was trained with it.
    """
    now, earlier = now.float(), earlier.float()
    height, width = now.shape[-2:]
    # All bins of the published size at once would be 6 GB.
    bins_at_once = max(1, _FEATURES_AT_ONCE[now.device.type == "cuda"] // now.numel())
    costs = []
    for part in positions.split(bins_at_once, dim=1):
        matched = F.grid_sample(earlier, part.flatten(1, 2), align_corners=True)
        matched = matched.view(*now.shape[:2], part.shape[1], height, width)
        unseen = matched[:, -group] == 0
        costs.append((matched - now[:, :, None]).abs_().sum(dim=1) + _UNSEEN_COST * unseen)
    return (-torch.cat(costs, dim=1)).softmax(dim=1)
