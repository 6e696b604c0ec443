"""VLScene at a size that trains in seconds, and made-up samples for it."""

from __future__ import annotations

import dataclasses

import torch

from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.model import PointQueries
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_training.recipes.vlscene_data import VLSceneSample

CONFIG = dataclasses.replace(
    VLSceneConfig.nano(),
    input_size=(64, 96),
    backbone_widths=(8, 8, 16, 16),
    neck_channels=16,
    context_channels=16,
    lift_shape=(16, 16, 8),
    upsample=(2, 2, 2),
    origin_m=(0.0, -3.2, -1.6),
    depth_max_m=10.0,
)


def geometry(focal_px=60.0, baseline_m=0.5):
    left, right = torch.eye(4), torch.eye(4)
    for matrix in (left, right):
        matrix[0, 0] = matrix[1, 1] = focal_px
        matrix[0, 2], matrix[1, 2] = 47.5, 31.5
    right[0, 3] = -focal_px * baseline_m
    return StereoGeometry(
        rots=torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])[None, None],
        trans=torch.zeros(1, 1, 3),
        intrins_left=left[None, None],
        intrins_right=right[None, None],
        post_rots=torch.eye(3)[None, None],
        post_trans=torch.zeros(1, 1, 3),
        bda=torch.eye(3)[None],
        calib=torch.tensor([[focal_px * baseline_m]], dtype=torch.float64),
    )


def sample(number):
    """A scene of two boxes whose places hang on the number, and pictures that tell the number."""
    random = torch.Generator().manual_seed(number)
    truth = torch.zeros(CONFIG.grid.shape, dtype=torch.uint8)
    truth[:, :, :4] = 9
    start = 6 + 8 * (number % 2)
    truth[8:20, start : start + 10, 4:10] = 13 + number % 2
    truth[:4] = 255
    images = torch.randn(3, *CONFIG.input_size, generator=random)
    points = torch.rand(50, 3, generator=random) * torch.tensor([12.8, 6.4, 3.0])
    uvd = torch.rand(50, 3, generator=random) * torch.tensor([2.0, 2.0, 9.0]) - 1
    height, width = CONFIG.map_size
    return VLSceneSample(
        left=images,
        right=images.roll(-4, dims=2),
        geometry=geometry(),
        truth=truth,
        depth_bins=torch.randint(0, CONFIG.bins + 4, (height, width), generator=random),
        points=PointQueries(points - torch.tensor([0.0, 3.2, 1.6]), uvd),
        point_labels=torch.randint(0, 20, (50,), generator=random),
        teacher=TeacherTargets(
            torch.randn(512, height, width, generator=random),
            torch.randn(21, height, width, generator=random),
        ),
        name=f"toy {number}",
    )
