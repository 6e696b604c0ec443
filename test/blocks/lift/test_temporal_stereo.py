"""Plane sweep over time, against the chain of transformations and on a known motion."""

import torch

from occ_perception.blocks.lift import temporal_stereo
from occ_perception.blocks.lift.lss import image_frustum
from occ_perception.blocks.lift.temporal_stereo import match_earlier, sweep_maps, sweep_positions

SIZE, MAP = (64, 128), (16, 32)
K = torch.tensor([[90.0, 0, 70], [0, 80.0, 30], [0, 0, 1]])


def turned_motion():
    T = torch.eye(4)
    angle = torch.tensor(0.05)
    T[0, 0] = T[2, 2] = angle.cos()
    T[0, 2], T[2, 0] = angle.sin(), -angle.sin()
    T[:3, 3] = torch.tensor([0.2, -0.1, 1.5])
    return T


def turned_image():
    fit = torch.tensor([[0.9, 0.1, 3.0], [-0.1, 0.9, -5.0], [0, 0, 1]])
    return fit


def step_by_step(frustum, motion, fit):
    """Network pixel -> source pixel -> point -> moved point -> source pixel -> network pixel."""
    frustum, motion, fit, k = (t.double() for t in (frustum, motion, fit, K))
    pixel = torch.cat([frustum[..., :2], torch.ones_like(frustum[..., :1])], -1)
    point = (pixel @ fit.inverse().T @ k.inverse().T) * frustum[..., 2:]
    moved = point @ motion[:3, :3].T + motion[:3, 3]
    image = moved @ k.T
    pixel = torch.cat([image[..., :2] / image[..., 2:], torch.ones_like(image[..., :1])], -1)
    network = (pixel @ fit.T)[..., :2]
    position = network / torch.tensor([SIZE[1] - 1, SIZE[0] - 1]) * 2 - 1
    return torch.where(moved[..., 2:] < 1e-3, -2.0, position).float()


def test_one_map_per_camera_does_the_whole_chain():
    frustum = image_frustum(SIZE, MAP, torch.arange(1.0, 20.0))
    for motion in (turned_motion(), turned_motion().inverse()):
        maps = sweep_maps(K[None], motion[None], turned_image()[None], SIZE)
        expected = step_by_step(frustum, motion, turned_image())
        torch.testing.assert_close(
            sweep_positions(frustum, maps)[0], expected, rtol=1e-4, atol=1e-4
        )


def test_the_right_depth_matches_best():
    """A wall 6 m away seen by a camera that moved half a metre to the right."""
    depths = torch.arange(2.0, 12.0)
    frustum = image_frustum(SIZE, MAP, depths)
    motion = torch.eye(4)
    motion[0, 3] = 0.5
    maps = sweep_maps(K[None], motion[None], torch.eye(3)[None], SIZE)
    positions = sweep_positions(frustum, maps)
    earlier = torch.rand(1, 8, *MAP, generator=torch.Generator().manual_seed(0)) + 0.1
    truth = list(depths).index(6.0)
    now = torch.nn.functional.grid_sample(earlier, positions[:, truth], align_corners=True)
    best = match_earlier(now, earlier, positions, group=4).argmax(dim=1)
    inside = (positions[0, truth].abs() < 1).all(dim=-1)
    assert (best[0, inside] == truth).all()


def test_bins_may_be_matched_in_any_number_at_once(monkeypatch):
    g = torch.Generator().manual_seed(0)
    now, earlier = torch.rand(2, 2, 8, 6, 9, generator=g)
    positions = torch.rand(2, 5, 6, 9, 2, generator=g) * 2.4 - 1.2
    whole = match_earlier(now, earlier, positions, group=4)
    monkeypatch.setattr(temporal_stereo, "_FEATURES_AT_ONCE", (2 * now.numel(), 1))
    torch.testing.assert_close(match_earlier(now, earlier, positions, group=4), whole)


def test_unseen_bins_are_unlikely_and_an_unmoved_view_cannot_tell():
    positions = torch.zeros(1, 2, 4, 4, 2)
    positions[:, 1] = -2.0
    features = torch.rand(1, 8, 1, 1).expand(1, 8, 4, 4) + 0.1
    matched = match_earlier(features, features, positions, group=4)
    cost = 5.0 + float(features[0, :, 0, 0].sum())
    torch.testing.assert_close(matched[0, 1], torch.full((4, 4), -cost).sigmoid())
    same = match_earlier(features, features, torch.zeros(1, 3, 4, 4, 2), group=4)
    torch.testing.assert_close(same, torch.full_like(same, 1 / 3))


def test_a_true_zero_in_the_watched_channel_counts_as_unseen():
    features = torch.rand(1, 8, 4, 4) + 0.1
    features[:, 4, :, :] = 0
    still = torch.zeros(1, 1, 4, 4, 2)
    beyond = torch.full((1, 1, 4, 4, 2), -2.0)
    both = match_earlier(torch.zeros_like(features), features, torch.cat([still, beyond], 1), 4)
    assert (both[:, 1] > 0.5).all()  # nothing distinguishes them but the feature's length
