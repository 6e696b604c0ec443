import math

import pytest
import torch

from occ_training.losses.sight import sight_loss


def test_cross_entropy_of_opacities():
    density = torch.tensor([[5.0, 5.0, 0.5]])
    occupied = torch.tensor([[True, False, True]])
    opacity = [1 - math.exp(-0.2 * d) for d in (5.0, 5.0, 0.5)]
    expected = [-math.log(opacity[0]), -math.log(1 - opacity[1]), -math.log(opacity[2])]
    known = torch.ones_like(occupied)
    loss = sight_loss(density, occupied, known, 0.2)
    assert float(loss) == pytest.approx(sum(expected) / 3, rel=1e-5)
    first = sight_loss(density, occupied, torch.tensor([[True, False, False]]), 0.2)
    assert float(first) == pytest.approx(expected[0], rel=1e-5)


def test_nothing_known_and_no_density_stay_finite():
    density = torch.zeros(1, 2, requires_grad=True)
    occupied = torch.tensor([[True, False]])
    assert float(sight_loss(density.detach(), occupied, torch.zeros_like(occupied), 0.2)) == 0
    loss = sight_loss(density, occupied, torch.ones_like(occupied), 0.2)
    loss.backward()
    assert loss.isfinite() and density.grad.isfinite().all()
