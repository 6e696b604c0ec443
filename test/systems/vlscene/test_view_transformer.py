"""From two views to one volume, at a tiny size."""

import dataclasses

import numpy as np
import pytest
import torch

from occ_perception.blocks.lift.voxel_pool import pool_voxels
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.view_transformer import PlanCache, ViewTransformer

CONFIG = dataclasses.replace(
    VLSceneConfig.nano(),
    input_size=(32, 96),
    lift_shape=(32, 32, 16),
    upsample=(4, 4, 2),
    mean_lift=False,
)
FOCAL_PX, CENTER_PX = 60.0, (47.0, 15.0)


def geometry(baseline_m=0.5, y_m=-20.0):
    intrins = [torch.eye(4) for _ in range(2)]
    for matrix, shift in zip(intrins, (0.0, -FOCAL_PX * baseline_m), strict=True):
        matrix[0, 0] = matrix[1, 1] = FOCAL_PX
        matrix[0, 2], matrix[1, 2], matrix[0, 3] = *CENTER_PX, shift
    optical_to_base = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    return StereoGeometry(
        rots=optical_to_base[None, None],
        trans=torch.tensor([[[0.3, y_m, 1.5]]]),
        intrins_left=intrins[0][None, None],
        intrins_right=intrins[1][None, None],
        post_rots=torch.eye(3)[None, None],
        post_trans=torch.zeros(1, 1, 3),
        bda=torch.eye(3)[None],
        calib=torch.tensor([[FOCAL_PX * baseline_m]], dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ViewTransformer(CONFIG).eval()


def features(batch=1):
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, batch, CONFIG.neck_channels, *CONFIG.map_size, generator=g)


def test_a_pixel_at_a_depth_lands_in_its_voxel(net):
    """One feature pixel, one bin: 9 m ahead, its metre position computed by hand."""
    plan = net.plan(geometry())
    bins, (h, w) = CONFIG.bins, CONFIG.map_size
    row, column, depth_m = 1, 3, 9.0
    u, v = 95 * column / (w - 1), 31 * row / (h - 1)
    point = (
        depth_m + 0.3,
        -(u - CENTER_PX[0]) / FOCAL_PX * depth_m - 20.0,
        -(v - CENTER_PX[1]) / FOCAL_PX * depth_m + 1.5,
    )
    depth = torch.zeros(1, 1, bins, h, w)
    depth[0, 0, round((depth_m - CONFIG.depth_min_m) / CONFIG.depth_step_m), row, column] = 1
    volume = pool_voxels(depth, torch.ones(1, 1, 1, h, w), plan.pool)
    index, inside = CONFIG.lift_grid.index_of(np.array(point))
    assert inside
    assert volume[0, 0].nonzero().tolist() == [index.tolist()]


def test_every_bit_of_probability_inside_the_grid_is_pooled(net):
    plan = net.plan(geometry())
    view = net(*features(), plan)
    torch.testing.assert_close(view.depth_prob.sum(dim=1), torch.ones(1, *CONFIG.map_size))
    weights = view.depth_prob.flatten()[plan.pool.samples.long()]
    context = view.context.flatten(2)[0, :, plan.pool.pixels.long()]
    torch.testing.assert_close(
        view.volume.sum(dim=(2, 3, 4))[0], (weights * context).sum(dim=1), rtol=1e-3, atol=1e-3
    )
    assert view.distillation is None


def test_a_mean_is_the_sum_over_its_number_of_parts(net):
    config = dataclasses.replace(CONFIG, mean_lift=True)
    mean_net = ViewTransformer(config).eval()
    mean_net.load_state_dict(net.state_dict())
    plan = mean_net.plan(geometry())
    sums, means = net(*features(), net.plan(geometry())), mean_net(*features(), plan)
    index = 40
    voxels = plan.pool.bounds.diff().topk(index).indices.tolist()
    first, last = plan.pool.bounds[voxels[-1]], plan.pool.bounds[voxels[-1] + 1]
    assert last - first > 1
    where = np.unravel_index(voxels[-1], plan.pool.shape)
    torch.testing.assert_close(
        means.volume[(0, slice(None), *where)] * (last - first) / CONFIG.bins,
        sums.volume[(0, slice(None), *where)],
    )
    assert plan.to("cpu").share is not None and net.plan(geometry()).share is None


def test_no_gate_is_shut_by_the_size_of_the_calibration(net):
    """Pixels in the hundreds, taken as they are, drive half of the sigmoids to 0 for ever."""
    big = geometry()
    for matrix in (big.intrins_left, big.intrins_right):
        matrix[0, 0, :2] *= 12
    plan = net.plan(big)
    gates = net.stereo_net.features.gate(
        torch.ones(1, CONFIG.neck_channels, 1, 1), plan.camera_left
    )
    assert gates.min() > 0.05 and gates.max() < 0.95


def test_samples_of_a_batch_keep_their_own_calibration(net):
    one, two = geometry(), geometry(baseline_m=0.3, y_m=-18.0)
    left, right = features(batch=2)
    together = net(left, right, net.plan(StereoGeometry.cat([one, two])))
    for i, alone in enumerate((one, two)):
        view = net(left[i : i + 1], right[i : i + 1], net.plan(alone))
        torch.testing.assert_close(together.volume[i : i + 1], view.volume, rtol=1e-4, atol=1e-4)


def test_a_teacher_adds_outputs_and_changes_nothing(net):
    plan, (left, right) = net.plan(geometry()), features()
    teacher = TeacherTargets(
        torch.randn(1, CONFIG.teacher_channels, *CONFIG.map_size),
        torch.randn(1, CONFIG.teacher_classes, *CONFIG.map_size),
    )
    taught, alone = net(left, right, plan, teacher), net(left, right, plan)
    assert torch.equal(taught.volume, alone.volume)
    assert taught.distillation.fused.shape == taught.context.shape
    assert taught.distillation.seg_logits.shape == teacher.seg_logits.shape


def test_everything_trains(net):
    teacher = TeacherTargets(
        torch.randn(1, CONFIG.teacher_channels, *CONFIG.map_size),
        torch.randn(1, CONFIG.teacher_classes, *CONFIG.map_size),
    )
    view = net(*features(), net.plan(geometry()), teacher)
    sums = (view.volume, view.depth_prob, *view.distillation)
    sum(t.square().sum() for t in sums).backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None]
    net.zero_grad()


def test_plans_are_built_once_per_calibration(net):
    built = []

    def build(g):
        built.append(g)
        return net.plan(g)

    cache = PlanCache(build, capacity=2)
    first = cache(geometry())
    assert cache(geometry()) is first
    assert cache(geometry(baseline_m=0.4)) is not first
    assert cache(geometry()) is first and len(built) == 2
    cache(geometry(baseline_m=0.6))  # drops the one used longest ago
    assert cache(geometry()) is first and len(built) == 3
    cache(geometry(baseline_m=0.4))
    assert len(built) == 4
