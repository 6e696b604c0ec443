"""Pictures over time: plain torch on any machine, gsplat against it on a GPU."""

import sys

import pytest
import torch
from torch.nn import functional as F

from occ_perception.core.errors import ConfigError
from occ_perception.rendering.splat_torch import SplatCameras
from occ_perception.voxels.gaussians import Gaussians
from occ_training.splat import gsplat_backend, torch_backend

WIDTH, HEIGHT = 48, 32


def scene(device="cpu"):
    g = torch.Generator().manual_seed(0)
    means = torch.rand(100, 3, generator=g) * torch.tensor([6.0, 4, 8])
    means += torch.tensor([-3.0, -2, 1])
    gaussians = Gaussians(
        means,
        torch.rand(100, 3, generator=g) * 0.4 + 0.02,
        F.normalize(torch.randn(100, 4, generator=g), dim=-1),
        torch.rand(100, 1, generator=g),
        torch.randn(100, 16, generator=g),
    )
    steps = torch.stack([means + torch.tensor([0.5, 0, 0]), means])
    K = torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]]).repeat(6, 1, 1)
    T = torch.eye(4).repeat(6, 1, 1)
    T[:, 0, 3] = torch.arange(6) * 0.1
    moved = (t.to(device) for t in gaussians)
    cameras = SplatCameras(T.to(device), K.to(device), WIDTH, HEIGHT)
    return Gaussians(*moved), steps.to(device), cameras


def test_every_step_has_its_means_and_its_cameras():
    gaussians, means, cameras = scene()
    both = torch_backend.render_steps(gaussians, means, cameras)
    assert both.shape == (2, 3, HEIGHT, WIDTH, 17)
    last = SplatCameras(cameras.T_cam_world[3:], cameras.K[3:], WIDTH, HEIGHT)
    alone = torch_backend.render_steps(gaussians, means[1:], last)
    torch.testing.assert_close(both[1], alone[0])
    assert not torch.allclose(both[0], both[1])


def test_without_gsplat_the_error_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(ConfigError, match=r"occ_perception\[splat\]"):
        gsplat_backend.render_steps(*scene())


@pytest.mark.gpu
def test_gsplat_draws_the_same_pictures():
    pytest.importorskip("gsplat")
    arguments = scene("cuda")
    ours, theirs = (backend.render_steps(*arguments) for backend in (torch_backend, gsplat_backend))
    difference = (ours - theirs).abs()
    assert float((difference < 5e-3).float().mean()) > 0.999  # fast mathematics, threshold flips
