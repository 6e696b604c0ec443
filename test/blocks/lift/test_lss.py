"""Lifting is the inverse of projecting."""

import torch

from occ_perception.blocks.lift.lss import depth_bins, image_frustum, unproject_frustum


def test_bins_start_at_the_first_depth_and_stop_before_the_last():
    bins = depth_bins(2.0, 58.0, 0.5)
    assert (len(bins), bins[0], bins[-1]) == (112, 2.0, 57.5)


def test_corner_features_sit_on_corner_pixels():
    frustum = image_frustum((24, 40), (3, 5), depth_bins(1, 3, 1))
    assert frustum.shape == (2, 3, 5, 3)
    assert frustum[0, 0, 0].tolist() == [0, 0, 1]
    assert frustum[1, 2, 4].tolist() == [39, 23, 2]


def test_lifted_points_project_back_onto_their_pixels():
    g = torch.Generator().manual_seed(0)
    frustum = image_frustum((24, 40), (3, 5), depth_bins(2, 20, 3))
    batch, views = 2, 2
    P = torch.eye(4).repeat(batch, views, 1, 1)
    P[..., 0, 0] = P[..., 1, 1] = 30 + torch.rand(batch, views, generator=g)
    P[..., 0, 2], P[..., 1, 2] = 20, 11
    P[..., :3, 3] = torch.randn(batch, views, 3, generator=g) * torch.tensor([9.0, 1.0, 0.01])
    rotation = torch.linalg.qr(torch.randn(batch, views, 3, 3, generator=g)).Q
    translation = torch.randn(batch, views, 3, generator=g)
    image_rotation = torch.diag(torch.tensor([1.03, 1.03, 1.0])).repeat(batch, views, 1, 1)
    image_translation = torch.tensor([-2.0, -7.0, 0.0]).repeat(batch, views, 1)
    augmentation = torch.diag(torch.tensor([1.0, -1.0, 1.0])).repeat(batch, 1, 1)
    points = unproject_frustum(
        frustum, P, rotation, translation, image_rotation, image_translation, augmentation
    )
    points = points.flatten(2, 4) @ augmentation[:, None]
    camera = (points - translation[:, :, None]) @ rotation
    q = camera @ P[..., :3, :3].mT + P[..., None, :3, 3]
    uv = 1.03 * q[..., :2] / q[..., 2:] + image_translation[:, :, None, :2]
    expected = frustum.flatten(0, 2).expand(batch, views, -1, -1)
    torch.testing.assert_close(uv, expected[..., :2], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(q[..., 2], expected[..., 2], atol=1e-4, rtol=1e-4)


def test_the_frustum_is_on_the_device_of_the_depths():
    depths = depth_bins(2.0, 10.0, 1.0).to("meta")
    assert image_frustum((32, 64), (4, 8), depths).device.type == "meta"
