"""A tiny LangOcc and samples for it: a ring of two cameras before walls of two materials."""

import dataclasses

import torch
from torch.nn import functional as F

from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_training.data.beam_sight import SightVoxels
from occ_training.data.language_rays import LanguageRays
from occ_training.recipes.langocc_data import LangOccSample

CONFIG = dataclasses.replace(
    LangOccConfig.nano(),
    input_size=(64, 96),
    source_width=None,
    cameras=("front", "back"),
    neck_channels=16,
    aspp_channels=4,
    context_channels=4,
    bins=12,
    stage_channels=(4, 6),
    scene_channels=8,
    language_channels=6,
    clip_channels=16,
    origin_m=(-8.0, -8.0, -1.0),
    voxel_m=1.0,
    shape=(16, 16, 4),
    coarseness=(2, 2, 1),
)
OPTICAL = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)


def geometry():
    mounts = torch.eye(4, dtype=torch.float64).repeat(1, 3, 2, 1, 1)
    mounts[..., 0, :3, :3] = OPTICAL
    back = torch.diag(torch.tensor([-1.0, -1, 1], dtype=torch.float64))
    mounts[..., 1, :3, :3] = back @ OPTICAL
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 3, 2, 1, 1)
    poses[0, :, :, 0, 3] = torch.tensor([500.0, 499.5, 499.0])[:, None]
    K = torch.tensor([[50.0, 0, 48], [0, 50, 32], [0, 0, 1]]).expand(1, 3, 2, 3, 3)
    fit = torch.eye(3).expand(1, 3, 2, 3, 3)
    return SurroundGeometry(mounts, poses, K, fit, torch.eye(3)[None])


def words(seed, rays=64):
    """What the rays of a sample see: one word ahead, another one behind."""
    g = torch.Generator().manual_seed(100 + seed)
    ahead, behind = F.normalize(torch.randn(2, CONFIG.language_channels, generator=g), dim=-1)
    angle = torch.rand(rays, generator=g) * 6.28
    directions = torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, -0.1)], dim=-1)
    targets = torch.where(directions[:, :1] > 0, ahead, behind)
    return F.normalize(directions, dim=-1), targets


def told(generator, count=40):
    """Voxels of which the upper half is free."""
    voxels = torch.randint(CONFIG.grid.count, (count,), generator=generator)
    free = voxels % CONFIG.shape[2] >= CONFIG.shape[2] // 2
    return SightVoxels(voxels, torch.zeros_like(voxels), free, torch.ones(count))


def sample(seed, rays=64):
    g = torch.Generator().manual_seed(seed)
    directions, targets = words(seed, rays)
    return LangOccSample(
        images=torch.randn(3, 2, 3, *CONFIG.input_size, generator=g),
        geometry=geometry(),
        rays=LanguageRays(torch.zeros(rays, 3), directions),
        targets=targets,
        weights=torch.ones(rays, 1),
        sight=told(g),
    )
