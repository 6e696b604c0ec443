"""Training only: which depth bin a feature cell should choose, from sparse LiDAR depth."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from occ_perception.systems.vlscene.config import VLSceneConfig

NO_TARGET = 255


def depth_bin_targets(
    depth_m: Float[Tensor, "b ih iw"], config: VLSceneConfig
) -> Int[Tensor, "b h w"]:
    """Target bin of every feature cell, 255 where no LiDAR point tells.

    The nearest point of a cell counts. With the published slips target k covers the depths of bin
    k + 1.

    Args:
        depth_m: Sparse depth image of the left view at the network's size, metres, 0 = none.
        config: Depth range and stride.
    """
    (h, w), s = config.map_size, config.stride
    cells = depth_m.view(-1, h, s, w, s).masked_fill(depth_m.view(-1, h, s, w, s) <= 0, torch.inf)
    step = config.depth_step_m
    position = (cells.amin(dim=(2, 4)) - (config.depth_min_m - step / 2)) / step
    first = 1 if config.published_slips else 0
    inside = (position >= first) & (position < config.bins + first)
    return torch.where(inside, position.floor() - first, NO_TARGET).long()
