"""The dense masked twin against a dictionary of voxels, and against spconv where installed."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from occ_perception.blocks.sparse.sparse_conv import (
    ActiveBatchNorm,
    DownsampleConv3d,
    SubmanifoldConv3d,
    UpsampleConv3d,
    choose_backend,
    sparsify,
    spconv_is_installed,
)
from occ_perception.core.errors import ConfigError

SHAPE = (6, 5, 4)
KERNELS = [(3, 3, 3), (1, 3, 3), (3, 1, 3), (3, 1, 1), (1, 3, 1), (1, 1, 3)]


def volume(channels=3, batch=2, share=0.3, shape=SHAPE, seed=0):
    """Random features in a random third of the voxels, float64 so that gradients are exact."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, channels, *shape, generator=generator, dtype=torch.float64)
    active = torch.rand(batch, 1, *shape, generator=generator) < share
    return features * active


def as_dictionary(dense):
    """{(b, x, y, z): features} of the active voxels; differentiable."""
    return {tuple(i.tolist()): dense[i[0], :, i[1], i[2], i[3]] for i in _active(dense)}


def _active(dense):
    return (dense.detach().abs().sum(1) != 0).nonzero()


def taps(kernel):
    """Offsets of a kernel from its centre with the index of their weight."""
    for k in itertools.product(*(range(size) for size in kernel)):
        yield k, tuple(i - size // 2 for i, size in zip(k, kernel, strict=True))


def submanifold_oracle(sites, weight, kernel):
    """Sum over active neighbours, at the active voxels only."""
    out = {}
    for b, *p in sites:
        total = 0
        for k, offset in taps(kernel):
            neighbour = (b, *(i + o for i, o in zip(p, offset, strict=True)))
            if neighbour in sites:
                total = total + weight[:, :, *k] @ sites[neighbour]
        out[(b, *p)] = total
    return out


def downsample_oracle(sites, weight, shape):
    """Every active voxel q adds to all coarse p with q = 2p - 1 + k."""
    out = {}
    for (b, *q), features in sites.items():
        for k in itertools.product(range(3), repeat=3):
            p2 = [i + 1 - o for i, o in zip(q, k, strict=True)]
            p = tuple(i // 2 for i in p2)
            coarse = [(size + 1) // 2 for size in shape]
            if all(i % 2 == 0 for i in p2) and all(0 <= i < n for i, n in zip(p, coarse, strict=1)):
                out[(b, *p)] = out.get((b, *p), 0) + weight[:, :, *k] @ features
    return out


def upsample_oracle(coarse, weight, fine_sites):
    """Fine voxel q sums W[k] t[p] over q = 2p - 1 + k."""
    out = {}
    for b, *q in fine_sites:
        total = torch.zeros(weight.shape[0], dtype=weight.dtype)
        for k in itertools.product(range(3), repeat=3):
            p2 = [i + 1 - o for i, o in zip(q, k, strict=True)]
            p = (b, *(i // 2 for i in p2))
            if all(i % 2 == 0 for i in p2) and p in coarse:
                total = total + weight[:, :, *k] @ coarse[p]
        out[(b, *q)] = total
    return out


def assert_same(result, oracle):
    """Same active set, same features, zeros elsewhere."""
    dense, mask = result.dense(), result.mask[:, 0]
    assert {tuple(i.tolist()) for i in mask.nonzero()} == set(oracle)
    for (b, x, y, z), features in oracle.items():
        torch.testing.assert_close(dense[b, :, x, y, z], features, rtol=1e-10, atol=1e-12)
    assert dense.detach()[~mask.unsqueeze(1).expand_as(dense)].abs().sum() == 0


def assert_same_gradients(ours, oracle, inputs):
    """Gradients of a random projection of the active features."""
    generator = torch.Generator().manual_seed(5)
    loss = loss_oracle = 0
    for (b, x, y, z), features in oracle.items():
        direction = torch.randn(features.shape, generator=generator, dtype=features.dtype)
        loss = loss + ours.dense()[b, :, x, y, z] @ direction
        loss_oracle = loss_oracle + features @ direction
    got = torch.autograd.grad(loss, inputs)
    expected = torch.autograd.grad(loss_oracle, inputs)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
def test_submanifold_matches_the_dictionary(kernel):
    dense = volume().requires_grad_()
    conv = SubmanifoldConv3d(3, 4, kernel, "fine").double()
    ours = conv(sparsify(dense, "dense"))
    oracle = submanifold_oracle(as_dictionary(dense), conv.weight, kernel)
    assert_same(ours, oracle)
    assert_same_gradients(ours, oracle, [conv.weight])


@pytest.mark.parametrize("shape", [(6, 5, 4), (4, 4, 4), (5, 3, 7)])
def test_down_and_up_match_the_dictionary(shape):
    dense = volume(shape=shape, share=0.2).requires_grad_()
    down = DownsampleConv3d(3, 4, "pool").double()
    up = UpsampleConv3d(4, 5, "pool").double()
    coarse = down(sparsify(dense, "dense"))
    fine = up(coarse)
    sites = as_dictionary(dense)
    coarse_oracle = downsample_oracle(sites, down.weight, shape)
    fine_oracle = upsample_oracle(coarse_oracle, up.weight, sites)
    assert_same(coarse, coarse_oracle)
    assert_same(fine, fine_oracle)
    assert_same_gradients(fine, fine_oracle, [down.weight, up.weight])


def test_gradients_reach_the_active_inputs():
    dense = volume(share=0.2)
    sites = (dense.abs().sum(1, keepdim=True) != 0).expand_as(dense)
    leaf = dense.clone().requires_grad_()
    conv = SubmanifoldConv3d(3, 4, (3, 3, 3), "fine").double()
    oracle = submanifold_oracle(as_dictionary(leaf), conv.weight, conv.kernel)
    (expected,) = torch.autograd.grad(sum(v.square().sum() for v in oracle.values()), leaf)
    (got,) = torch.autograd.grad(conv(sparsify(leaf, "dense")).dense().square().sum(), leaf)
    torch.testing.assert_close(got[sites], expected[sites])


@pytest.mark.parametrize("training", [True, False])
def test_norm_sees_active_voxels_only(training):
    dense = volume(channels=4, share=0.4) + 0
    ours = ActiveBatchNorm(4).double().train(training)
    plain = nn.BatchNorm1d(4).double().train(training)
    for norm in (ours, plain):
        nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))
    leaf = dense.clone().requires_grad_()
    result = ours(sparsify(leaf, "dense"))
    rows = plain(sparsify(dense, "dense").rows()[1])
    torch.testing.assert_close(result.rows()[1], rows)
    assert (result.dense() * ~result.mask).abs().sum() == 0
    torch.testing.assert_close(ours.running_mean, plain.running_mean)
    torch.testing.assert_close(ours.running_var, plain.running_var)
    assert (ours.running_mean.abs().sum() > 0) == training


def test_norm_gradient_is_that_of_the_rows():
    dense = volume(channels=4, share=0.4)
    norm = ActiveBatchNorm(4).double().train()
    leaf = dense.clone().requires_grad_()
    norm(sparsify(leaf, "dense")).dense().pow(3).sum().backward()
    rows = sparsify(dense, "dense").rows()[1].requires_grad_()
    nn.BatchNorm1d(4).double().train()(rows).pow(3).sum().backward()
    torch.testing.assert_close(
        sparsify(dense, "dense").with_features(leaf.grad).rows()[1], rows.grad
    )


def test_marked_voxel_moves_by_the_kernel_offset():
    dense = torch.zeros(1, 1, *SHAPE)
    dense[0, 0, 2, 2, 1] = dense[0, 0, 3, 2, 1] = 1.0
    conv = SubmanifoldConv3d(1, 1, (3, 1, 1), "fine")
    conv.weight.data = torch.tensor([10.0, 1.0, 0.1]).view(1, 1, 3, 1, 1)  # cross-correlation
    out = conv(sparsify(dense, "dense")).dense()
    assert out[0, 0, 2, 2, 1].item() == pytest.approx(1.1)
    assert out[0, 0, 3, 2, 1].item() == pytest.approx(11.0)
    assert out.count_nonzero() == 2


def test_channels_last_gives_the_same():
    dense = volume().float()
    conv = SubmanifoldConv3d(3, 4, (3, 3, 3), "fine")
    plain = conv(sparsify(dense, "dense")).dense()
    last = conv(sparsify(dense.to(memory_format=torch.channels_last_3d), "dense")).dense()
    torch.testing.assert_close(plain, last)


def test_backend_choice(monkeypatch):
    cpu = torch.device("cpu")
    module = "occ_perception.blocks.sparse.sparse_conv"
    assert choose_backend("auto", cpu) == "dense"
    monkeypatch.setattr(f"{module}.spconv_is_installed", lambda: True)
    assert choose_backend("auto", torch.device("cuda")) == "spconv"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    with pytest.raises(ConfigError, match="several CPU threads"):
        choose_backend("spconv", cpu)
    monkeypatch.setattr(f"{module}.spconv_is_installed", lambda: False)
    assert choose_backend("auto", torch.device("cuda")) == "dense"
    with pytest.raises(ConfigError, match="not installed"):
        choose_backend("spconv", torch.device("cuda"))


COMPARISON = """
import torch
torch.set_num_threads(1)
from occ_perception.blocks.sparse.sparse_conv import (
    ActiveBatchNorm, DownsampleConv3d, SubmanifoldConv3d, UpsampleConv3d, choose_backend, sparsify)
torch.manual_seed(3)
kernels = [(3, 3, 3), (1, 3, 3), (3, 1, 3), (1, 1, 3)]
branches = [SubmanifoldConv3d(8, 8, kernel, "fine") for kernel in kernels]
norm, down, up = ActiveBatchNorm(8), DownsampleConv3d(8, 12, "pool"), UpsampleConv3d(12, 8, "pool")
inner = SubmanifoldConv3d(12, 12, (3, 3, 3), "coarse")
dense = torch.randn(2, 8, 12, 10, 8) * (torch.rand(2, 1, 12, 10, 8) < 0.4)
results = {}
torch.set_grad_enabled(False)
for backend in ("dense", "spconv"):
    x = sparsify(dense, choose_backend(backend, dense.device))
    parts = [branch(x) for branch in branches]
    x = x.with_features(sum(part.features for part in parts))
    x = norm.train()(x)
    coarse = inner(down(x))
    result = up(coarse)
    results[backend] = (coarse.dense(), result.dense(), *coarse.rows())
for ours, theirs in zip(results["dense"], results["spconv"], strict=True):
    scale = theirs.abs().max().clamp(min=1e-6)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 1e-4 * scale, (ours - theirs).abs().max()
print("equal")
"""  # values only: spconv's CPU build cannot differentiate on a machine without a driver


@pytest.mark.skipif(not spconv_is_installed(), reason="spconv is not installed")
def test_dense_twin_equals_spconv_on_one_thread():
    # A process of its own: spconv's CPU build is only right when OpenMP starts with one thread.
    done = subprocess.run(
        [sys.executable, "-c", COMPARISON],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("equal")
