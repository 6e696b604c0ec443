"""Vectors rendered out of a volume, on scenes whose answer is known."""

import pytest
import torch

from occ_perception.core.grid import GridSpec
from occ_perception.geometry.rays import Rays
from occ_perception.rendering.feature_rays import (
    Intervals,
    RaySampling,
    coarse_intervals,
    fine_intervals,
    read_volume,
    render_features,
    transmittance,
)

GRID = GridSpec((-8.0, -8.0, -2.0), (0.5, 0.5, 0.5), (32, 32, 8), "base_link")
SAMPLING = RaySampling(near_m=0.05, far_m=8.0, coarse=32, fine=64)


def wall(distance_m):
    """Density behind a plane x = distance; features say left and right."""
    x = GRID.centers()[..., 0]
    density = (x > distance_m).float()[None, None] * 1.0
    left = GRID.centers()[..., 1] > 0
    features = torch.stack([left, ~left]).float()[None]
    return density, features


def rays_towards(*directions):
    directions = torch.nn.functional.normalize(torch.tensor(directions), dim=-1)[None]
    return Rays(torch.zeros_like(directions), directions)


def jitter(rays):
    return torch.full((1, rays.origins.shape[1], SAMPLING.coarse - 1), 0.5)


def test_rays_see_what_stands_on_their_side_and_behind_them_nothing():
    rays = rays_towards([1.0, 0.6, 0.0], [1.0, -0.6, 0.0], [-1.0, 0.0, 0.0])
    seen = render_features(*wall(3.0), rays, jitter(rays), GRID, SAMPLING)
    torch.testing.assert_close(seen.vectors[0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(seen.vectors[0, 1], torch.tensor([0.0, 1.0]))
    assert seen.hit[0].tolist() == [True, True, False]
    assert not seen.vectors[0, 2].any()


def test_fine_samples_gather_where_the_density_is():
    rays = rays_towards([1.0, 0.0, 0.0])
    seen = render_features(*wall(4.0), rays, jitter(rays), GRID, SAMPLING)
    samples = seen.intervals.samples[0, 0]
    assert float((samples > 3.4).float().mean()) > 0.95
    assert (samples.diff() >= 0).all()


def test_weights_are_light_times_opacity():
    edges = torch.tensor([[0.0, 1.0, 3.0, 4.0]])
    light = transmittance(torch.tensor([[0.5, 0.2, 1.0]]), edges)
    torch.testing.assert_close(light, torch.exp(-torch.tensor([[0.0, 0.5, 0.9]])))


def test_the_outermost_voxel_centres_are_the_limits_of_the_range():
    volume = torch.zeros(1, 1, *GRID.shape)
    volume[0, 0, 31, 0, 7] = 1.0
    corner = torch.tensor([8.0, -8.0, 2.0]).expand(1, 1, 1, 3)
    assert float(read_volume(volume, corner, GRID)) == pytest.approx(1.0)
    assert float(read_volume(volume, corner + torch.tensor([0.6, 0, 0]), GRID)) == 0


def test_unshifted_coarse_pieces_are_even():
    coarse = coarse_intervals(torch.full((1, 1, SAMPLING.coarse - 1), 0.5), SAMPLING)
    steps = coarse.edges.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 7.95 / 32), rtol=1e-4, atol=1e-5)


def test_an_empty_ray_is_sampled_in_its_last_piece():
    edges = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    fine = fine_intervals(Intervals(edges, edges[:, 1:] - 0.5), torch.ones(1, 3), 5)
    assert (fine.samples > 2).all()
    assert float(fine.edges[0, -1]) <= 3


def test_the_gradient_reaches_density_and_features():
    density, features = (v.requires_grad_() for v in wall(3.0))
    rays = rays_towards([1.0, 0.1, 0.0])
    seen = render_features(density, features, rays, jitter(rays), GRID, SAMPLING)
    (seen.vectors[0, 0].sum() - seen.weights.sum()).backward()
    assert density.grad.abs().sum() > 0
    assert features.grad.abs().sum() > 0
