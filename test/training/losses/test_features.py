"""What is not there teaches nothing, and concentrated rays cost nothing."""

import torch

from occ_training.losses.features import feature_loss
from occ_training.losses.rendering import concentration


def test_missing_features_leave_loss_and_gradient_whole():
    rendered = torch.randn(3, 4, requires_grad=True)
    target = torch.randn(3, 4)
    whole = feature_loss(rendered[:2], torch.zeros(2, 4), target[:2])
    target[2] = float("nan")
    loss = feature_loss(rendered, torch.zeros(3, 4), target)
    torch.testing.assert_close(loss, whole)
    loss.backward()
    assert rendered.grad.isfinite().all() and rendered.grad[2].eq(0).all()
    nothing = feature_loss(rendered, torch.zeros(3, 4), torch.full((3, 4), float("nan")))
    assert nothing == 0


def test_rays_that_stop_at_one_place_are_concentrated():
    sharp, spread = torch.eye(4), torch.full((1, 4), 0.25)
    assert concentration(sharp).abs() < 1e-6
    torch.testing.assert_close(concentration(spread), torch.tensor(5 / 64))
