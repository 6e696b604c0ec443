"""Where stage 2 takes its samples from."""

import torch

from occ_perception.blocks.fields.pixel_field import FieldValues
from occ_perception.geometry.rays import Rays
from occ_training.recipes.scenedino_semantics import (
    ball_offsets,
    crop_centres,
    sample_crops,
)


def test_centres_lie_on_the_surface_one_in_each_fifth_of_the_depth():
    generator = torch.Generator().manual_seed(0)
    distance = torch.rand(5000, generator=generator) * 120  # some deeper than is asked for
    directions = torch.nn.functional.normalize(torch.randn(5000, 3, generator=generator), dim=1)
    centres = crop_centres(distance, Rays(torch.zeros(5000, 3), directions), generator)
    found = centres.norm(dim=1)
    assert len(found) == 5 and (found.diff() > 0).all() and found.max() < 100
    limits = distance[distance < 100].quantile(torch.linspace(0, 1, 6))
    assert torch.bucketize(found, limits).tolist() == [1, 2, 3, 4, 5]


def test_offsets_fill_the_ball_evenly():
    offsets = ball_offsets(20_000, 0.5, torch.Generator().manual_seed(0))
    radius = offsets.norm(dim=1)
    assert radius.max() <= 0.5
    assert abs((radius < 0.25).float().mean() - 1 / 8) < 0.01


def test_crops_with_too_few_surface_points_are_left_out():
    def field(points):
        dense = (points[..., 0] < 5).float()  # the second centre is in empty space
        return FieldValues(dense, points, torch.zeros_like(dense, dtype=torch.bool))

    centres = torch.tensor([[0.0, 0, 10], [20.0, 0, 10]])
    crops = sample_crops(centres, field, 16, torch.Generator().manual_seed(0))
    assert crops.shape == (1, 16, 3)
    assert (crops[0] - centres[0]).norm(dim=1).max() <= 0.5
