"""The sparse U-Net: what stays empty, what the published slip does, and that it can be trained."""

import pytest
import torch

from occ_perception.blocks.sparse.sparse_conv import sparsify
from occ_perception.systems.vlscene.gssa import AxisGate, SparseUNet, Spread


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SparseUNet(in_channels=6, widths=(4, 6, 8), backend="dense")


def lifted(batch=2, shape=(12, 12, 8)):
    volume = torch.zeros(batch, 6, *shape)
    volume[:, :, 1, 1, 1] = torch.randn(batch, 6, generator=torch.Generator().manual_seed(1))
    return volume


def test_shape_follows_the_widths(net):
    out = net.eval()(lifted())
    assert out.shape == (2, net.out_channels, 12, 12, 8)
    assert net.out_channels == 12


def test_features_spread_four_voxels_and_no_further():
    torch.manual_seed(0)
    out = Spread(6, 4)(lifted()).abs().sum(1)
    reached = out[0].nonzero().amax(dim=0)
    assert reached.tolist() == [5, 5, 5]  # voxel 1 plus 3 (7x7x7) plus 1 (3x3x3)


def test_voxels_far_from_any_feature_stay_exactly_zero(net):
    out = net.eval()(lifted())
    active = net.spread(lifted()).abs().sum(1, keepdim=True) != 0
    assert 0 < active.float().mean() < 0.5
    assert (out * ~active).count_nonzero() == 0
    assert (out * active).count_nonzero() > 0


def test_empty_volume_gives_an_empty_scene(net):
    assert net.eval()(torch.zeros(1, 6, 8, 8, 4)).count_nonzero() == 0


def test_samples_of_a_batch_do_not_mix(net):
    net.eval()
    volume = lifted()
    volume[1] = volume[1].roll(3, dims=1)
    both = net(volume)
    alone = torch.cat([net(volume[:1]), net(volume[1:])])
    torch.testing.assert_close(both, alone)


def test_gate_passes_the_first_axis_through_all_norms():
    torch.manual_seed(0)
    gate = AxisGate(4, "full").eval()
    x = sparsify(torch.randn(1, 4, 4, 4, 4), "dense")
    z = gate.along_x(x).features
    for norm in gate.norms:
        z = torch.sigmoid(norm(x.with_features(z)).features)
    expected = (z + gate.along_y(x).features + gate.along_z(x).features) * x.features
    torch.testing.assert_close(gate(x).features, expected)


def test_every_weight_is_trained(net):
    net.train()
    net(torch.randn(1, 6, 8, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    counters = [b for n, b in net.named_buffers() if n.endswith("num_batches_tracked")]
    assert all(counter == 1 for counter in counters)
