"""Gaussians summed into voxels, against the formula taken voxel by voxel."""

import itertools

import pytest
import torch

from occ_perception.core.grid import GridSpec
from occ_perception.voxels.gaussians import (
    Gaussians,
    GaussianVolume,
    gaussians_at_voxels,
    gaussians_to_volume,
    label_voxels,
    precisions,
)

GRID = GridSpec((-2.0, -1.0, 0.0), (0.5, 0.5, 0.25), (8, 5, 6), "base_link")


def random_gaussians(count, seed=0):
    g = torch.Generator().manual_seed(seed)
    means = torch.rand(count, 3, generator=g) * torch.tensor([6.0, 5.0, 3.0]) - torch.tensor(
        [3.0, 2.0, 0.7]
    )
    quaternions = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1)
    return Gaussians(
        means,
        torch.rand(count, 3, generator=g) * 0.6 + 0.05,
        quaternions,
        torch.rand(count, 1, generator=g),
        torch.randn(count, 3, generator=g),
    )


def summed_by_hand(gaussians, reach):
    """The definition: every Gaussian over its cube of voxels."""
    density, logits = torch.zeros(GRID.shape), torch.zeros(*GRID.shape, 3)
    P = precisions(gaussians.scales, gaussians.quaternions)
    for g in range(len(gaussians.means)):
        mean = gaussians.means[g]
        base, _ = GRID.index_of(mean.numpy())
        cube = [
            range(max(b - reach, 0), min(b + reach + 1, n))
            for b, n in zip(base, GRID.shape, strict=True)
        ]
        for voxel in itertools.product(*cube):
            d = torch.from_numpy(GRID.center_of(voxel)).float() - mean
            w = torch.exp(-0.5 * d @ P[g] @ d)
            density[voxel] += gaussians.opacities[g, 0] * w
            logits[voxel] += gaussians.logits[g] * w
    return density.clamp(0, 1), logits


@pytest.mark.parametrize("reach", [1, 2])
def test_sums_are_those_of_the_definition(reach):
    gaussians = random_gaussians(30)
    density, logits = summed_by_hand(gaussians, reach)
    volume = gaussians_to_volume(gaussians, GRID, reach)
    torch.testing.assert_close(volume.density, density)
    torch.testing.assert_close(volume.logits, logits)


def test_a_gaussian_outside_reaches_in_only_as_far_as_its_cube():
    gaussians = random_gaussians(1)._replace(
        means=torch.tensor([[-2.6, 0.3, 0.6]]), scales=torch.full((1, 3), 2.0)
    )
    touched = gaussians_to_volume(gaussians, GRID, 2).density > 0
    assert touched[0].any()
    assert not touched[1:].any()


def test_gradients_reach_every_attribute():
    gaussians = Gaussians(*(t.requires_grad_() for t in random_gaussians(5)))
    volume = gaussians_to_volume(gaussians, GRID, 2)
    (volume.density.sum() + volume.logits.square().sum()).backward()
    assert all(t.grad.abs().sum() > 0 for t in gaussians)


def test_chosen_voxels_have_the_sums_of_the_whole_grid():
    gaussians = random_gaussians(400)
    volume = gaussians_to_volume(gaussians, GRID, 2)
    voxels = torch.randperm(GRID.count)[:40]
    sums = gaussians_at_voxels(gaussians, GRID, 2, voxels)
    torch.testing.assert_close(sums.density.clamp(0, 1), volume.density.flatten()[voxels])
    torch.testing.assert_close(sums.logits, volume.logits.flatten(0, 2)[voxels])
    assert sums.density.max() > 1  # where many meet, more of them still makes a difference


def test_faint_and_high_voxels_are_free():
    density = torch.tensor([0.0005, 0.04, 0.06, 0.9]).expand(1, 1, 4)
    logits = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0], [0.0, 1.0]])[None, None]
    voxels = label_voxels(GaussianVolume(density, logits), roof=3)
    assert voxels.density.flatten().tolist() == pytest.approx([0, 0.04, 0.06, 0])
    assert voxels.classes.flatten().tolist() == [1, 2, 1, 2]
    assert voxels.free(0.05).flatten().tolist() == [True, True, False, True]
