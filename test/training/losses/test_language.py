"""Losses on rendered vectors."""

import pytest
import torch
from torch.nn import functional as F

from occ_training.losses.language import (
    cosine_guided_mse,
    cosine_loss,
    squared_loss,
)


def rays():
    g = torch.Generator().manual_seed(0)
    vectors = [F.normalize(torch.randn(5, 8, generator=g), dim=-1) for _ in range(2)]
    return *vectors, torch.tensor([1.0, 1, 0, 1, 1])[:, None]


def test_right_vectors_cost_nothing():
    _, target, weights = rays()
    for loss in (cosine_guided_mse, cosine_loss, squared_loss):
        assert float(loss(target, target, weights)) == pytest.approx(0, abs=1e-6)


def test_rays_that_hit_nothing_dilute_the_mean():
    rendered, target, weights = rays()
    some = torch.tensor([0, 1, 3, 4])
    all_of_them = squared_loss(rendered, target, weights)
    without = squared_loss(rendered[some], target[some], weights[some])
    torch.testing.assert_close(all_of_them, without * 4 / 5)


def test_the_cosine_guides_but_is_not_trained():
    rendered, target, weights = rays()
    rendered.requires_grad_()
    wrongness = 2 * (1 - (rendered * target).sum(-1)).detach()
    expected = (wrongness * weights[:, 0] * (rendered - target).square().sum(-1)).mean()
    loss = cosine_guided_mse(rendered, target, weights)
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, rendered)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)
