"""The whole network at a tiny size."""

import dataclasses

import numpy as np
import pytest
import torch

from occ_perception.core.errors import ConfigError
from occ_perception.geometry.transforms import transform
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.decoder import GaussianMemory
from occ_perception.systems.gaussianflowocc.flow import FlowModule, dynamic_gaussians, moved_means
from occ_perception.systems.gaussianflowocc.history import GaussianHistory
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc

CONFIG = dataclasses.replace(
    GaussianFlowOccConfig.nano(),
    input_size=(64, 96),
    cameras=("front", "back"),
    gaussians=40,
    inducing_points=6,
    channels=16,
    head_channels=16,
    flow_channels=16,
    horizon=6,
    origin_m=(-4.0, -4.0, -1.0),
    shape=(20, 20, 16),
)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return GaussianFlowOcc(CONFIG).eval()


@pytest.fixture(scope="module")
def plan(net):
    optical = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    poses = torch.eye(4).repeat(1, 2, 1, 1)
    poses[0, 0, :3, :3] = optical
    poses[0, 1, :3, :3] = torch.diag(torch.tensor([-1.0, -1, 1])) @ optical
    K = torch.tensor([[50.0, 0, 48], [0, 50, 32], [0, 0, 1]]).expand(1, 2, 3, 3)
    return net.plan(poses, K, torch.eye(3).expand(1, 2, 3, 3))


def images(seed=1):
    return torch.randn(1, 2, 3, *CONFIG.input_size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_attributes_are_in_their_ranges(net, plan):
    gaussians = net(images(), plan).gaussians
    assert gaussians.means.shape == (1, 40, 3)
    assert ((gaussians.scales > 0) & (gaussians.scales < 1)).all()
    assert ((gaussians.opacities > 0) & (gaussians.opacities < 1)).all()
    torch.testing.assert_close(gaussians.quaternions.norm(dim=-1), torch.ones(1, 40))


@torch.no_grad()
def test_the_first_frame_is_its_own_past(net, plan):
    once = net(images(), plan)
    twice = net(images(), plan, once.memory)
    torch.testing.assert_close(net.begin(images(), plan).gaussians.means, twice.gaussians.means)
    assert not torch.allclose(once.gaussians.means, twice.gaussians.means)


@torch.no_grad()
def test_history_carries_the_memory_into_the_new_frame(net, plan):
    history = GaussianHistory(net)
    pose = transform([1000.0, 2000.0, 0.0])
    later = pose @ transform([1.5, 0.2, 0.0], [0, 0, 0.1, 0.995])
    first = history.step(images(1), plan, pose)
    second = history.step(images(2), plan, later)
    motion = torch.from_numpy(np.linalg.inv(later) @ pose)[None].float()
    expected = net(images(2), plan, first.memory.carried(motion))
    torch.testing.assert_close(second.gaussians.means, expected.gaussians.means)
    history.reset()
    torch.testing.assert_close(
        history.step(images(1), plan, pose).gaussians.means, first.gaussians.means
    )


@torch.no_grad()
def test_mixed_precision_moves_gaussians_by_millimetres_only(net, plan):
    exact = net(images(), plan).memory.carried(torch.eye(4)[None])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = net(images(), plan).memory.carried(torch.eye(4)[None])
    assert mixed.means.dtype == torch.float32
    torch.testing.assert_close(mixed.means, exact.means, rtol=0, atol=0.05)


def test_a_carried_point_stays_where_it_is_in_the_world():
    memory = GaussianMemory(torch.tensor([[[2.0, 0.0, 0.0]]]), torch.ones(1, 1, 4))
    forward = torch.from_numpy(np.linalg.inv(transform([1.5, 0, 0])))[None]
    assert memory.carried(forward).means.tolist() == [[[0.5, 0.0, 0.0]]]


@torch.no_grad()
def test_voxels_come_on_the_grid_and_a_wider_reach_touches_more(net, plan):
    gaussians = net(images(), plan).gaussians[0]
    narrow, wide = net.voxels(gaussians, reach=1), net.voxels(gaussians)
    assert narrow.classes.shape == CONFIG.shape
    assert narrow.classes.dtype == torch.uint8
    assert (narrow.density > 0).sum() < (wide.density > 0).sum()
    assert not wide.density[..., CONFIG.roof :].any()


def test_everything_can_be_trained(net, plan):
    scene = net(images(), plan, net(images(2), plan).memory)
    means = net.means_over_time(scene, torch.tensor([0, 8]))
    gaussians = scene.gaussians
    total = means.square().sum() + sum(t.square().sum() for t in gaussians)
    total.backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None]
    assert idle == []
    net.zero_grad()


def test_only_what_can_move_moves():
    logits = torch.zeros(1, 2, 16)
    logits[0, 0, 3] = 1  # car
    logits[0, 1, 10] = 1  # driveable surface
    dynamic = dynamic_gaussians(logits, CONFIG.dynamic_ids)
    means, moves = torch.zeros(1, 2, 3), torch.ones(1, 2, 4, 3)
    moved = moved_means(means, moves, dynamic)
    assert moved.shape == (1, 5, 2, 3)
    assert (moved[0, :4, 0] == 1).all()
    assert not moved[0, :, 1].any()
    assert not moved[0, 4].any()


def test_steady_flow_goes_as_far_in_every_step_and_stays_level():
    flow, features = FlowModule(8, 12, steps=5, steady=True), torch.randn(2, 3, 8)
    ahead = FlowModule(8, 12, steps=5)
    ahead.load_state_dict(flow.state_dict())
    step = ahead(features, torch.tensor([3]))[:, :, 0] * torch.tensor([1.0, 1.0, 0.0])
    expected = torch.stack([k * step for k in (-2, 0, 1)], dim=2)
    torch.testing.assert_close(flow(features, torch.tensor([0, 2, 3])), expected)


def test_flow_is_the_mlp_of_feature_and_time():
    torch.manual_seed(0)
    flow = FlowModule(8, 12, steps=5)
    features, steps = torch.randn(2, 3, 8), torch.tensor([4, 0])
    pairs = [
        torch.cat([features, flow.time_embed(step).expand(2, 3, -1)], dim=-1) for step in steps
    ]
    expected = torch.stack([flow.ffn(pair) for pair in pairs], dim=2)
    torch.testing.assert_close(flow(features, steps), expected)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="multiples of 32"):
        GaussianFlowOccConfig(input_size=(250, 704))
    with pytest.raises(ConfigError, match="heads"):
        GaussianFlowOccConfig(channels=100)


def test_the_published_size():
    with torch.device("meta"):
        network = GaussianFlowOcc(GaussianFlowOccConfig())
    assert sum(p.numel() for p in network.parameters()) == 39_244_628
    assert GaussianFlowOccConfig().roof == 11
