"""Photometric and rendering losses on inputs whose answer is known."""

import pytest
import torch

from occ_training.losses.features import distance_smoothness, feature_loss
from occ_training.losses.photometric import (
    edge_aware_smoothness,
    patch_error,
    photometric_error,
    relative_inverse,
    ssim_error,
)
from occ_training.losses.rendering import (
    INVALID_POLICIES,
    RaySamples,
    best_view_error,
    depth_consistency,
)
from occ_training.losses.temporal import DepthView, temporal_alignment, warp


def test_equal_images_have_no_error_and_different_ones_do():
    image = torch.rand(2, 3, 8, 8)
    assert photometric_error(image, image).abs().max() < 1e-6
    assert ssim_error(image, 1 - image).mean() > 0.1


def test_the_view_that_fits_wins():
    target = torch.rand(1, 2, 8, 8, 3)
    rendered = torch.stack([target, 1 - target], dim=4)
    error = patch_error(rendered, target)
    assert error[..., 0].max() < 1e-6 < error[..., 1].min()
    nobody = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    assert best_view_error(error, nobody) < 1e-6
    assert best_view_error(error[..., 1:], ~nobody) == 0


def rays(unseen, colours=None):
    """Two samples, the second one carries all weight, one view per entry of `unseen`."""
    weights = torch.tensor([[0.0, 1.0]])
    outside = torch.tensor([unseen], dtype=torch.bool).transpose(1, 2)
    colours = torch.rand(1, 2, len(unseen), 3) if colours is None else colours
    return RaySamples(weights, outside, colours)


@pytest.mark.parametrize(
    ("policy", "unseen", "wanted"),
    [
        ("weight_guided", [[True, False]], False),
        ("weight_guided", [[False, True]], True),
        ("weight_guided", [[False, True], [False, False]], False),
        ("strict", [[True, False]], True),
        ("strict", [[True, False], [False, False]], False),
        ("none", [[True, True]], False),
    ],
)
def test_rays_without_a_witness_are_invalid(policy, unseen, wanted):
    assert INVALID_POLICIES[policy](rays(unseen)).item() is wanted


def test_rays_of_one_colour_teach_no_depth():
    plain = rays([[False, False]], torch.full((1, 2, 1, 3), 0.5))
    assert INVALID_POLICIES["weight_guided_diverse"](plain).item()
    assert not INVALID_POLICIES["weight_guided"](plain).item()


def test_edges_forgive_steps():
    signal = torch.zeros(1, 1, 4, 4)
    signal[..., 2:] = 1
    flat, edge = torch.zeros(1, 3, 4, 4), signal.expand(1, 3, 4, 4)
    assert edge_aware_smoothness(signal, flat).sum() == 4
    forgiven = edge_aware_smoothness(signal, edge, temperature=25).sum()
    assert forgiven < 1e-6


def test_scale_plays_no_part_in_smoothness():
    distance = torch.rand(2, 8, 8) * 20 + 5
    torch.testing.assert_close(relative_inverse(distance), relative_inverse(2 * distance))


def test_the_published_pairing_differs_for_batches_only():
    distance, picture = torch.rand(2, 3, 8, 8) * 9 + 3, torch.rand(2, 3, 8, 8, 3)
    assert distance_smoothness(distance, picture) != distance_smoothness(distance, picture, True)
    one = distance[:1], picture[:1]
    torch.testing.assert_close(distance_smoothness(*one), distance_smoothness(*one, True))


def test_features_without_direction_are_left_out():
    target = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])
    loss = feature_loss(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.zeros(2, 2), target)
    assert loss.item() == pytest.approx(0, abs=1e-6)


def test_versions_of_the_depth_consistency():
    predicted, rendered = torch.tensor([2.0, 4.0]), torch.tensor([3.0, 6.0])
    assert depth_consistency(predicted, rendered).item() == 1.5
    assert depth_consistency(predicted, rendered, 2).item() == 0.5  # the far pixel weighs nothing
    assert depth_consistency(predicted, rendered, 3).item() == 0


def test_a_still_camera_with_true_depth_is_aligned():
    K = torch.tensor([[[0.8, 0, 0], [0, 2.0, 0], [0, 0, 1]]])
    view = DepthView(
        torch.rand(1, 3, 96, 128), torch.full((1, 1, 96, 128), 9.0), torch.eye(4)[None]
    )
    seen = warp(view, view, K)
    assert seen.valid.float().mean() > 0.9
    torch.testing.assert_close(seen.moved_depth_m, view.depth_m)
    assert temporal_alignment(view, view, K) < 0.4  # half a pixel of the published sampling
    forward = torch.eye(4)[None].clone()
    forward[0, 2, 3] = 1.0
    moved = view._replace(T_world_cam=forward)
    assert temporal_alignment(view, moved, K) > temporal_alignment(view, view, K)
