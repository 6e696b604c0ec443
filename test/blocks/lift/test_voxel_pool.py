"""Pooling into voxels against a plain loop over all points."""

import pytest
import torch

from occ_perception.blocks.lift.voxel_pool import plan_pool, pool_voxels, voxel_index
from occ_perception.core.grid import GridSpec

GRID = GridSpec((0.0, -2.0, -1.0), (0.5, 1.0, 0.5), (4, 3, 2), "base")


def pooled_plainly(depth, features, points, grid):
    """One point after the other, rounding towards zero by Python's int()."""
    b, _, c, _, _ = features.shape
    volume = features.new_zeros(b, c, *grid.shape)
    for index in torch.cartesian_prod(*(torch.arange(s) for s in depth.shape)).tolist():
        i, j, k, y, x = index
        cell = [
            int((p - o) / s)
            for p, o, s in zip(
                points[i, j, k, y, x].tolist(), grid.origin_m, grid.voxel_size_m, strict=True
            )
        ]
        if all(0 <= v < size for v, size in zip(cell, grid.shape, strict=True)):
            add = torch.zeros_like(volume)
            add[(i, slice(None), *cell)] = 1
            lifted = depth[i, j, k, y, x] * features[i, j, :, y, x]
            volume = volume + add * lifted[None, :, None, None, None]
    return volume


def case(dtype=torch.float64):
    g = torch.Generator().manual_seed(3)
    low, high = torch.tensor([-0.8, -3.2, -1.8]), torch.tensor([2.3, 1.6, 0.4])
    points = low + (high - low) * torch.rand(2, 2, 5, 3, 4, 3, generator=g)
    depth = torch.rand(2, 2, 5, 3, 4, generator=g).to(dtype).requires_grad_()
    features = torch.randn(2, 2, 3, 3, 4, generator=g).to(dtype).requires_grad_()
    return depth, features, points


def test_values_and_gradients_equal_a_loop_over_points():
    depth, features, points = case()
    volume = pool_voxels(depth, features, plan_pool(points, GRID))
    expected = pooled_plainly(depth, features, points, GRID)
    assert expected.count_nonzero() > 20
    torch.testing.assert_close(volume, expected)
    weight = torch.randn(volume.shape, generator=torch.Generator().manual_seed(4)).to(volume)
    ours = torch.autograd.grad((volume * weight).sum(), (depth, features))
    plain = torch.autograd.grad((expected * weight).sum(), (depth, features))
    torch.testing.assert_close(ours, plain)


def test_gradients_are_the_derivatives():
    depth, features, points = case()
    plan = plan_pool(points, GRID)
    assert torch.autograd.gradcheck(lambda d, f: pool_voxels(d, f, plan), (depth, features))


@pytest.mark.gpu
def test_cuda_gives_what_the_cpu_gives():
    depth, features, points = case(torch.float32)
    plan = plan_pool(points, GRID)
    on_gpu = pool_voxels(depth.cuda(), features.cuda(), plan.to("cuda"))
    torch.testing.assert_close(on_gpu.cpu(), pool_voxels(depth, features, plan))
    assert torch.equal(plan_pool(points.cuda(), GRID).samples.cpu(), plan.samples)


def test_half_precision_is_summed_in_single():
    depth, features, points = case(torch.float32)
    plan = plan_pool(points, GRID)
    volume = pool_voxels(depth.bfloat16(), features.bfloat16(), plan)
    rounded = pool_voxels(depth.bfloat16().float(), features.bfloat16().float(), plan)
    assert volume.dtype == torch.float32
    torch.testing.assert_close(volume, rounded)


@pytest.mark.parametrize(
    ("point", "cell"),
    [
        ((0.6, 0.1, -0.9), (1, 2, 0)),
        ((1.99, 0.99, -0.01), (3, 2, 1)),
        ((-0.49, -2.99, -1.49), (0, 0, 0)),  # up to a voxel below the grid counts for voxel 0
        ((-0.5, -1.0, -1.0), None),
        ((2.0, 0.0, -1.0), None),
        ((float("inf"), 0.0, -1.0), None),
        ((float("nan"), 0.0, -1.0), None),
        ((1e30, 0.0, -1.0), None),
    ],
)
def test_a_point_falls_into_the_voxel_of_its_metres(point, cell):
    expected = -1 if cell is None else (cell[0] * 3 + cell[1]) * 2 + cell[2]
    assert voxel_index(torch.tensor(point), GRID).item() == expected


def test_an_empty_view_gives_an_empty_volume():
    depth, features, points = case()
    assert not pool_voxels(depth, features, plan_pool(points + 100, GRID)).any()
