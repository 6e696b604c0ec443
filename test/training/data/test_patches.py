"""Patches, their pixels, and the ViT's cells that show the same pixels."""

import numpy as np
import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.geometry.rays import centre_grid
from occ_training.data.patches import (
    GridCells,
    Patches,
    colours_at,
    moved_grid,
    patch_rays,
    random_cells,
    random_patches,
)
from occ_training.data.snog import Detection, SnogSampler, published_slots, snog_patches
from occ_training.data.views import (
    alternating_partition,
    crossed_partition,
    evaluation_partition,
    paired_partition,
    random_partition,
    rebased,
)


def cells(row, column):
    return GridCells(torch.tensor([[0]]), torch.tensor([[row]]), torch.tensor([[column]]))


def test_colours_are_read_where_the_rays_go():
    K = torch.eye(3).expand(1, 2, 3, 3)
    T = torch.eye(4).expand(1, 2, 4, 4)
    uv_map = centre_grid(8, 10)
    patches = Patches(torch.tensor([[1]]), torch.tensor([[3]]), torch.tensor([[5]]), 2)
    rays = patch_rays(patches, K, T, uv_map)
    maps = torch.arange(2 * 80.0).view(1, 2, 1, 8, 10)
    assert colours_at(maps, patches, rays)[0, 0, ..., 0].tolist() == [[115, 116], [125, 126]]
    torch.testing.assert_close(rays.uv[0, 0, 1, 0], uv_map[4, 5])


@pytest.mark.parametrize("shift", [(-4, 3), (0, 0), (3, -1)])
def test_a_moved_cell_shows_the_drawn_pixels(shift):
    patch = 8
    pixels, moved = moved_grid(cells(2, 5), shift, patch)
    assert moved.row.item() * patch + shift[0] == pixels.y.item()
    assert moved.column.item() * patch + shift[1] == pixels.x.item()


def test_random_cells_and_patches_stay_inside():
    generator = torch.Generator().manual_seed(0)
    drawn = random_cells(2, 500, 4, (24, 80), generator)
    for shift in ((-4, -4), (3, 3)):
        pixels, moved = moved_grid(drawn, shift, 8)
        assert pixels.y.min() >= 0 and pixels.y.max() + 8 <= 192
        assert pixels.x.min() >= 0 and pixels.x.max() + 8 <= 640
        assert moved.row.max() < 24 and moved.column.max() < 80
    patches = random_patches(2, 500, 4, (192, 640), 8, generator)
    assert patches.y.max() + 8 < 192 and patches.x.max() + 8 < 640


def test_patches_keep_apart_and_inside_and_prefer_objects():
    sampler = SnogSampler((192, 640), 8, np.random.default_rng(0))
    car = Detection("car", (300, 90, 420, 160), 4000.0)
    centres = sampler.centres([car], 64)
    gaps = np.linalg.norm(centres[:, None] - centres, axis=-1) + 1e9 * np.eye(64)
    assert gaps.min() >= np.sqrt(2) * 8
    on_car = ((centres >= (300, 90)) & (centres <= (420, 160))).all(axis=1).mean()
    assert on_car > 0.2  # uniform sampling would give 0.07
    assert ((centres >= 4) & (centres < (636, 188))).all()


def test_too_many_patches_are_an_error_not_an_endless_loop():
    with pytest.raises(ConfigError, match="do not fit"):
        SnogSampler((32, 32), 8, np.random.default_rng(0)).centres([], 64)


def test_anchors_go_to_their_own_view_and_sample():
    anchors = torch.arange(2 * 2 * 3 * 2).view(2, 2, 3, 2) + 10
    patches = snog_patches(anchors, (192, 640), 8, torch.Generator().manual_seed(0))
    assert (patches.view[:, :6] >= 2).all()
    assert patches.view[:, 6:].tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    assert torch.equal(patches.x[:, 6:], anchors[..., 0].flatten(1) - 4)
    assert torch.equal(patches.y[:, 6:], anchors[..., 1].flatten(1) - 4)
    same = snog_patches(anchors, (192, 640), 8, as_published=True)
    assert torch.equal(same.y[0], same.y[1])
    assert torch.equal(published_slots(anchors, [1, 2, 5, 6]), anchors.flip(1))


def test_every_view_has_one_role():
    rng = np.random.default_rng(0)
    for partition in (
        crossed_partition(rng),
        random_partition(4, rng),
        paired_partition(8, rng),
        alternating_partition(8, rng),
    ):
        roles = [*partition.loss, *partition.render]
        assert sorted(roles) == list(range(len(roles)))
    assert evaluation_partition(3) == ([0, 1, 2], [0])


def test_even_views_are_targets_in_two_of_three_cases():
    rng = np.random.default_rng(0)
    even = [0 in paired_partition(8, rng).loss for _ in range(3000)]
    assert abs(np.mean(even) - 2 / 3) < 0.04


def test_poses_are_relative_to_view_zero_even_far_from_the_origin():
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, :, 0, 3] = torch.tensor([4000.25, 4001.5])
    relative = rebased(poses)
    torch.testing.assert_close(relative[0, 0], torch.eye(4))
    assert relative[0, 1, 0, 3].item() == pytest.approx(1.25, abs=1e-6)
