"""Losses of scene completion where their value is known."""

import math

import pytest
import torch

from occ_training.losses.distill import depth_bin_loss, feature_loss, pixel_label_loss
from occ_training.losses.ssc import (
    frequency_weights,
    geometric_affinity_loss,
    occupied_overlap_loss,
    point_cross_entropy,
    point_lovasz,
    semantic_affinity_loss,
    voxel_cross_entropy,
)


def sure(target, classes=4, confidence=40.0):
    """Logits that are certain of `target` (ignored voxels: certain of class 0)."""
    ids = torch.where(target == 255, 0, target).long()
    return torch.nn.functional.one_hot(ids, classes).movedim(-1, 1) * confidence


@pytest.fixture
def target():
    generator = torch.Generator().manual_seed(0)
    volume = torch.randint(0, 4, (2, 4, 4, 2), generator=generator)
    volume[0, 0] = 255
    return volume


def test_right_answers_cost_nothing(target):
    logits = sure(target)
    assert voxel_cross_entropy(logits, target, torch.ones(4)) < 1e-6
    assert semantic_affinity_loss(logits, target) < 1e-5
    assert geometric_affinity_loss(logits, target) < 1e-5


def test_indifference_costs_what_it_must(target):
    logits = torch.zeros(2, 4, 4, 4, 2)
    valid = target[target != 255]
    occupied = (valid != 0).double().mean()
    expected = -torch.log(occupied) - math.log(0.75) - math.log(0.25)
    assert geometric_affinity_loss(logits, target).item() == pytest.approx(expected.item(), 1e-4)
    assert voxel_cross_entropy(logits, target, torch.ones(4)).item() == pytest.approx(math.log(4))


def test_ignored_voxels_have_no_gradient(target):
    logits = torch.randn(2, 4, 4, 4, 2, requires_grad=True)
    weights = torch.ones(4)
    total = semantic_affinity_loss(logits, target) + geometric_affinity_loss(logits, target)
    (total + voxel_cross_entropy(logits, target, weights)).backward()
    assert logits.grad[0, :, 0].abs().sum() == 0
    assert logits.grad[0, :, 1].abs().sum() > 0


@pytest.mark.parametrize("only", [0, 2, 255])
def test_one_sided_scenes_stay_finite(only):
    target = torch.full((1, 2, 2, 2), only)
    logits = torch.randn(1, 4, 2, 2, 2, requires_grad=True)
    loss = semantic_affinity_loss(logits, target) + geometric_affinity_loss(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_rare_classes_weigh_more():
    weights = frequency_weights([1e9, 1e5])
    assert weights[1] > weights[0]
    assert weights[0].item() == pytest.approx(1 / math.log(1e9))


def test_points_without_label_do_not_count():
    logits, labels = torch.randn(6, 4), torch.tensor([1, 2, 3, 1, 0, 0])
    changed = logits.clone()
    changed[4:] = 9.0
    assert point_cross_entropy(logits, labels) == point_cross_entropy(changed, labels)
    assert point_lovasz(logits, labels) == point_lovasz(changed, labels)
    nothing = torch.zeros(6, dtype=torch.long)
    assert point_cross_entropy(logits, nothing) == 0
    assert point_lovasz(logits, nothing) == 0


def test_lovasz_of_hard_answers_is_one_minus_iou():
    labels = torch.tensor([1, 1, 1, 2, 2, 3])
    answers = torch.tensor([1, 1, 2, 2, 3, 3])
    logits = torch.nn.functional.one_hot(answers, 4) * 80.0
    iou = torch.tensor([2 / 3, 1 / 3, 1 / 2])
    assert point_lovasz(logits, labels).item() == pytest.approx(1 - iou.mean().item())


def test_depth_loss_counts_cells_with_a_target():
    prob = torch.full((1, 4, 1, 2), 0.25)
    bins = torch.tensor([[[2, 255]]])
    expected = -math.log(0.25) - 3 * math.log(0.75)
    assert depth_bin_loss(prob, bins).item() == pytest.approx(expected)
    assert depth_bin_loss(prob, torch.full((1, 1, 2), 255)) == 0


def test_depth_loss_of_certainty_is_clamped():
    prob = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).requires_grad_()
    loss = depth_bin_loss(prob, torch.zeros(1, 1, 1, dtype=torch.long))
    assert loss.item() == 200
    assert torch.autograd.grad(loss, prob)[0].isfinite().all()


def test_losses_work_under_autocast(target):
    with torch.autocast("cpu", torch.bfloat16):
        prob = torch.full((1, 4, 1, 2), 0.25, dtype=torch.bfloat16)
        assert depth_bin_loss(prob, torch.zeros(1, 1, 2, dtype=torch.long)) > 0
        assert semantic_affinity_loss(sure(target).bfloat16(), target) < 1e-2


def test_distillation_trains_both_sides():
    student, fused = (torch.randn(1, 2, 3, 3, requires_grad=True) for _ in range(2))
    feature_loss(student, fused).backward()
    assert student.grad.abs().sum() > 0
    assert fused.grad.abs().sum() > 0
    logits = torch.randn(2, 5, 3, 3)
    assert pixel_label_loss(logits * 50, logits) < pixel_label_loss(-logits, logits)


def test_overlap_of_what_is_occupied():
    truth = torch.tensor([0, 0, 1, 2])
    logits = torch.zeros(4, 4)  # 3/4 occupied everywhere: both 1.5, either 3 + 2 - 1.5
    assert occupied_overlap_loss(logits, truth).item() == pytest.approx(-math.log(1.5 / 3.5))
    right = 40.0 * torch.nn.functional.one_hot(truth, 4)
    assert occupied_overlap_loss(right, truth) < 1e-6
    assert occupied_overlap_loss(right.flip(0), truth).isfinite()
    assert occupied_overlap_loss(logits, torch.zeros(4, dtype=torch.long)) == 0
