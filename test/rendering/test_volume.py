"""Volume rendering against what light does, and against a plain loop."""

import math

import pytest
import torch

from occ_perception.blocks.fields.pixel_field import FieldValues
from occ_perception.geometry.rays import Rays
from occ_perception.rendering.volume import (
    composite,
    expected,
    fixed_jitter,
    inverse_depth_distances,
    render,
)


def by_loop(density, distances, opaque_end):
    """One ray, one sample after the other."""
    light, weights = 1.0, []
    for k in range(len(density)):
        gap = 1e10 if k + 1 == len(density) else float(distances[k + 1] - distances[k])
        alpha = 1 - math.exp(-gap * max(float(density[k]), 0.0))
        if opaque_end and k + 1 == len(density):
            alpha = 1.0
        weights.append(light * alpha)
        light *= 1 - alpha
    return torch.tensor(weights)


@pytest.mark.parametrize("opaque_end", [True, False])
def test_weights_are_those_of_the_loop(opaque_end):
    torch.manual_seed(0)
    distances = torch.rand(8).cumsum(0)
    density = torch.rand(8)
    ours = composite(density[None], distances[None], opaque_end).weights[0]
    torch.testing.assert_close(ours, by_loop(density, distances, opaque_end), rtol=1e-4, atol=1e-6)


def test_all_light_arrives_when_the_end_is_opaque():
    weights = composite(torch.rand(5, 64) * 0.1, torch.rand(5, 64).cumsum(1)).weights
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5), rtol=1e-5, atol=1e-5)


def test_empty_space_without_an_opaque_end_stays_dark():
    weights = composite(torch.zeros(1, 8), torch.arange(8.0)[None], opaque_end=False).weights
    assert weights.eq(0).all()


def test_distances_are_even_in_inverse_distance_and_within_the_range():
    t = inverse_depth_distances(torch.zeros(1, 64), 3.0, 80.0)[0]
    inverse = 1 / t
    torch.testing.assert_close(inverse.diff(), inverse.diff()[:1].expand(63), rtol=1e-3, atol=1e-6)
    assert t[0] == 3.0 and t[-1] < 80.0
    assert inverse_depth_distances(torch.ones(1, 64), 3.0, 80.0)[0, -1].item() == pytest.approx(80)


def test_a_wall_is_rendered_where_it_stands():
    wall_m = 10.0

    def field(points):
        density = 100.0 * (points[..., 2] > wall_m)
        return FieldValues(density, points, torch.zeros_like(density, dtype=torch.bool))

    rays = Rays(torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0.0, 1.0]]]))
    seen = render(field, rays, fixed_jitter((1, 1), 512, rays.origins), (3.0, 80.0))
    assert seen.distance_m.item() == pytest.approx(wall_m, abs=0.3)
    assert seen.latent[0, 0, 2].item() == pytest.approx(wall_m, abs=0.3)


def test_expected_is_linear_in_the_values():
    weights, values = torch.rand(3, 4), torch.rand(3, 4, 2)
    torch.testing.assert_close(
        expected(weights, values), torch.einsum("rk,rkc->rc", weights, values)
    )
