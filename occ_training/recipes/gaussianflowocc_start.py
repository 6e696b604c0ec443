"""A start for short trainings: Gaussians lie flat where LiDAR points are, and at rest.

The published training starts from Gaussians spread evenly over the space, turned at random, and has
30,000 steps to bring them to where things are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.decoder import init_linear
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc
from occ_training.data.painted import lidar_points
from occ_training.data.surround import SurroundDrive, SurroundDrives

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FlatStart:
    """How a network starts.

    Attributes:
        keys: Key frames whose points are looked at.
        cell_m: Places are drawn among cubes of this size, the more often the more key frames see a
            surface there.
        scales_m: Size of all Gaussians along x, y and z, standard deviations.
        opacity: Of all of them.
    """

    keys: int = 60
    cell_m: float = 0.8
    scales_m: tuple[float, float, float] = (0.35, 0.35, 0.15)
    opacity: float = 0.3


@torch.no_grad()
def start_flat(
    network: GaussianFlowOcc, drives: SurroundDrives, start: FlatStart, seed: int
) -> None:
    """Place a network's Gaussians.

    Args:
        network: Changed in place.
        drives: Drives to train on.
        start: How.
        seed: Of what is drawn.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(drives))[: start.keys]
    points = [surface_points(*drives.place_of(int(i))) for i in chosen]
    config = network.config
    network.initial_means.copy_(draw_places(points, config, start.cell_m, random))
    for head, bias in (
        (network.scale_head, torch.tensor(start.scales_m).logit()),
        (network.opacity_head, torch.tensor([start.opacity]).logit()),
        (network.rotation_head, torch.tensor([3.0, 0, 0, 0])),
    ):
        head[-1].weight.mul_(0.3)
        head[-1].bias.copy_(bias)
    for block in network.decoder.blocks:
        block.mean_head[-1].weight.mul_(0.1)  # else the first rounds would scatter them
    init_linear(network.flow.ffn)  # the framework's start hardly looks at the features
    nn.init.zeros_(network.flow.ffn[-1].weight)


def surface_points(drive: SurroundDrive, key: int) -> Points:
    """Points `[n, 3]` of a key frame's LiDAR in its vehicle frame, metres.

    Raises:
        OccError: The layer is missing or damaged.
    """
    points = lidar_points(drive, key)
    T = points.T_base_sensor
    return points.xyz @ T[:3, :3].T + T[:3, 3]


def draw_places(
    points: list[Points], config: GaussianFlowOccConfig, cell_m: float, random: np.random.Generator
) -> Float[Tensor, "g 3"]:
    """One place per Gaussian, among those where surfaces were seen.

    Args:
        points: Surfaces of several key frames, metres.
        config: Number of Gaussians and the space.
        cell_m: Edge of the cubes of which each gives at most one place.
        random: Which ones.

    Raises:
        ConfigError: There are fewer places than Gaussians.
    """
    grid = config.grid
    lower, upper = np.array(grid.origin_m), np.array([*grid.upper_m[:2], config.roof_m])
    inside = [p[((p > lower) & (p < upper)).all(1)] for p in points]
    cells = [np.floor((p - lower) / cell_m).astype(np.int64) @ (1, 4096, 4096**2) for p in inside]
    # Each key frame counts once: pixels are many where the ground is near, and that is flat.
    seen = [np.unique(names, return_index=True) for names in cells]
    flat = np.concatenate([p[first] for p, (_, first) in zip(inside, seen, strict=True)])
    names, first, counts = np.unique(
        np.concatenate([n for n, _ in seen]), return_index=True, return_counts=True
    )
    if len(names) < config.gaussians:
        raise ConfigError(
            f"the points of {len(points)} key frames give {len(names)} places for "
            f"{config.gaussians} Gaussians: look at more key frames, or at smaller cubes"
        )
    weights = counts.astype(np.float64)
    places = random.choice(len(names), config.gaussians, False, weights / weights.sum())
    return torch.from_numpy(flat[first[places]]).float()
