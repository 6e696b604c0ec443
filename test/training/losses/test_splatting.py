"""Losses on rendered pictures."""

import pytest
import torch

from occ_training.losses.splatting import rendered_class_loss, rendered_depth_loss


def test_unlabelled_pixels_do_not_count():
    logits, labels = torch.zeros(1, 3, 4), torch.tensor([[0, 2, 4]])
    logits[0, 1, 1] = 5.0  # class id 2 is logit 1
    expected = -(logits[0, 1].log_softmax(-1)[1] + logits[0, 2].log_softmax(-1)[3]) / 2
    torch.testing.assert_close(rendered_class_loss(logits, labels), expected)


def test_depth_is_compared_where_there_is_a_target():
    loss = rendered_depth_loss(torch.tensor([1.0, 5.0, 9.0]), torch.tensor([3.0, 0.0, 9.0]))
    assert float(loss) == pytest.approx(2.0)


def test_pictures_without_any_label_cost_nothing_and_can_be_differentiated():
    logits = torch.randn(2, 3, requires_grad=True)
    depth = torch.randn(2, requires_grad=True)
    total = rendered_class_loss(logits, torch.zeros(2, dtype=torch.long))
    total = total + rendered_depth_loss(depth, torch.zeros(2))
    total.backward()
    assert float(total.detach()) == 0
    assert not logits.grad.any()
