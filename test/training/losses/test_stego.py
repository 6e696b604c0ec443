"""The buffer of crops and the distillation loss."""

import torch

from occ_perception.systems.scenedino.semantic_head import unit
from occ_training.losses.stego import (
    SELF,
    CropBuffer,
    cluster_loss,
    correlation,
    correlation_loss,
    probe_loss,
)


def crop(value, count=1):
    return torch.full((count, 3, 2), float(value)), torch.full((count, 2), float(value))


def test_the_buffer_overwrites_the_oldest():
    buffer = CropBuffer(4, 3, 2)
    for value in range(6):
        buffer.add(*crop(value))
    assert buffer.means[:, 0].tolist() == [4, 5, 2, 3]
    assert (buffer.next, buffer.filled) == (2, 4)


def test_more_crops_than_fit_keep_the_last():
    buffer = CropBuffer(4, 3, 2)
    many = torch.arange(6.0)[:, None, None].expand(6, 3, 2)
    buffer.add(many, many[:, 0])
    assert sorted(buffer.means[:, 0].tolist()) == [2, 3, 4, 5] and buffer.filled == 4


def test_a_neighbour_is_not_the_crop_itself():
    torch.manual_seed(0)
    buffer = CropBuffer(8, 1, 16)
    means = unit(torch.randn(8, 16))
    buffer.add(means[:, None], means)
    nearest = buffer.neighbours(means, torch.zeros(8, dtype=torch.long))[:, 0]
    similarity = (means @ means.T).fill_diagonal_(-1)
    assert torch.equal(nearest, means[similarity.argmax(dim=1)])


def test_alike_features_pull_codes_together():
    codes = torch.tensor(0.3, requires_grad=True)
    correlation_loss(torch.ones(1, 1, 1), codes.view(1, 1, 1), SELF).backward()
    assert codes.grad < 0
    codes.grad = None
    correlation_loss(torch.zeros(1, 1, 1), codes.view(1, 1, 1), SELF).backward()
    assert codes.grad > 0


def test_correlation_is_the_cosine():
    a = torch.randn(2, 3, 5)
    wanted = torch.cosine_similarity(a[:, :, None], a[:, None], dim=-1)
    torch.testing.assert_close(correlation(a, a), wanted)


def test_the_nearest_centre_counts_and_ignored_pixels_do_not():
    assert cluster_loss(torch.tensor([[0.25, 0.75], [0.5, 0.125]])).item() == -0.625
    logits = torch.tensor([[[[9.0, 0.0], [0.0, 9.0]]]])
    assert probe_loss(logits, torch.tensor([[[0, -1]]])) < 1e-3
