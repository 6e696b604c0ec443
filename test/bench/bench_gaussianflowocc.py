"""Speed and memory of GaussianFlowOcc's two own steps: Gaussians to voxels, Gaussians to pictures.

Targets hold for an H200-class GPU: 10,000 Gaussians into 200x200x16 voxels at reach 4 in 2 ms and
1 GB. The pictures of a training sample (7 key frames, 6 cameras) have none published; they are
drawn forward and backward, by gsplat on a GPU and by the plain splatter, at a quarter of the size,
without one.
    python test/bench/bench_gaussianflowocc.py
Prints one JSON object.
"""

from __future__ import annotations

import json
import math
import sys

import torch
from timing import milliseconds
from torch.nn import functional as F

from occ_perception.rendering.splat_torch import SplatCameras
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.voxels.gaussians import Gaussians, gaussians_to_volume
from occ_training.splat.choice import render_steps

CONFIG = GaussianFlowOccConfig()
VOXELS_MS, VOXELS_GB = 2.0, 1.0
STEPS = 7


def scene(device: torch.device) -> Gaussians:
    """Gaussians all over the space, as large as in a trained network."""
    lower, upper = (torch.tensor(v) for v in (CONFIG.grid.origin_m, CONFIG.grid.upper_m))
    random = torch.Generator().manual_seed(0)
    count = CONFIG.gaussians
    drawn = Gaussians(
        lower + torch.rand(count, 3, generator=random) * (upper - lower),
        torch.rand(count, 3, generator=random) * 0.5 + 0.1,
        F.normalize(torch.randn(count, 4, generator=random), dim=-1),
        torch.rand(count, 1, generator=random),
        torch.randn(count, CONFIG.classes, generator=random),
    )
    return Gaussians(*(tensor.to(device).requires_grad_() for tensor in drawn))


def ring(device: torch.device, width: int) -> SplatCameras:
    """Six cameras all around, for all key frames, as wide as nuScenes' in pictures of a width."""
    turns = torch.arange(6) * (math.pi / 3)
    c, s, zero, one = turns.cos(), turns.sin(), torch.zeros(6), torch.ones(6)
    to_optical = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    yaw = torch.stack([c, s, zero, -s, c, zero, zero, zero, one], dim=-1).view(6, 3, 3)
    T = torch.eye(4).repeat(6, 1, 1)
    T[:, :3, :3] = to_optical @ yaw
    T[:, :3, 3] = -(to_optical @ torch.tensor([0.0, 0, 1.5]))
    height, focal = width * 256 // 704, 0.79 * width
    K = torch.tensor([[focal, 0, width / 2], [0, focal, 0.3 * height], [0, 0, 1]]).repeat(6, 1, 1)
    poses, K = (each.repeat(STEPS, 1, 1).to(device) for each in (T, K))
    return SplatCameras(poses, K, width=width, height=height)


def pictures(device: torch.device, gaussians: Gaussians, width: int) -> float:
    """All pictures of a training sample and their gradients."""
    cameras = ring(device, width)

    def step() -> None:
        means = gaussians.means.expand(STEPS, -1, -1)
        render_steps(gaussians, means, cameras).square().mean().backward()

    return milliseconds(device, step)


def main() -> int:
    """Measure and print; 1 where a target is missed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gaussians = scene(device)
    plain = Gaussians(*(tensor.detach() for tensor in gaussians))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    voxels_ms = milliseconds(device, lambda: gaussians_to_volume(plain, CONFIG.grid, CONFIG.reach))
    found = {"device": device.type, "voxels_ms": voxels_ms}
    if device.type == "cuda":
        found["voxels_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    width = 704 if device.type == "cuda" else 176
    found |= {"picture_width": width, "pictures_ms": pictures(device, gaussians, width)}
    print(json.dumps(found, indent=2))
    if device.type != "cuda":
        return 0
    return int(found["voxels_ms"] > VOXELS_MS or found["voxels_gb"] > VOXELS_GB)


if __name__ == "__main__":
    sys.exit(main())
