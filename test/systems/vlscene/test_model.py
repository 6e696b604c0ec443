"""The whole network at a tiny size."""

import dataclasses

import pytest
import torch
from torch import nn

from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.model import PointQueries, VLScene
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry

CONFIG = dataclasses.replace(VLSceneConfig.nano(), input_size=(32, 96), lift_shape=(32, 64, 16))


def geometry(batch=1):
    intrins = torch.eye(4)
    intrins[0, 0] = intrins[1, 1] = 60.0
    intrins[0, 2], intrins[1, 2] = 47.0, 15.0
    right = intrins.clone()
    right[0, 3] = -30.0
    optical_to_base = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    one = StereoGeometry(
        rots=optical_to_base[None, None],
        trans=torch.tensor([[[0.3, -13.0, 1.5]]]),
        intrins_left=intrins[None, None],
        intrins_right=right[None, None],
        post_rots=torch.eye(3)[None, None],
        post_trans=torch.zeros(1, 1, 3),
        bda=torch.eye(3)[None],
        calib=torch.tensor([[30.0]], dtype=torch.float64),
    )
    return StereoGeometry.cat([one] * batch)


def images(batch=1):
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, batch, 3, *CONFIG.input_size, generator=g)


def teacher(batch=1):
    g = torch.Generator().manual_seed(2)
    vl = torch.randn(batch, CONFIG.teacher_channels, *CONFIG.map_size, generator=g)
    seg = torch.randn(batch, CONFIG.teacher_classes, *CONFIG.map_size, generator=g)
    return TeacherTargets(vl, seg)


def points(count):
    g = torch.Generator().manual_seed(count)
    xyz = torch.rand(count, 3, generator=g) * 6
    uvd = torch.rand(count, 3, generator=g) * 2 - 1
    return PointQueries(xyz, uvd.abs())


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return VLScene(CONFIG).eval()


def test_the_nano_model_has_every_module_of_the_published_one_in_4_million_parameters():
    nano = VLScene(VLSceneConfig.nano())
    assert sum(p.numel() for p in nano.parameters()) <= 4_000_000
    with torch.device("meta"):
        published = VLScene(VLSceneConfig())
    depth_of_backbone = {"backbone"}  # its blocks repeat more often

    def names(model):
        return {n for n, _ in model.named_modules() if n.split(".")[0] not in depth_of_backbone}

    assert names(nano) == names(published)


def test_the_published_model_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        published = VLScene(VLSceneConfig())
    assert sum(p.numel() for p in published.parameters()) == 48_260_002 - 2_580_480 - 9


def test_prediction_is_the_argmax_of_the_logits(net):
    with torch.no_grad():
        output = net(*images(), geometry())
    prediction = net.predict(*images(), geometry())
    assert output.logits.shape == (1, CONFIG.classes, *CONFIG.grid.shape)
    assert prediction.labels.shape == (1, *CONFIG.grid.shape)
    confidence, labels = output.logits.softmax(dim=1).max(dim=1)
    assert (labels == prediction.labels).float().mean() > 0.999
    torch.testing.assert_close(prediction.confidence, confidence, rtol=1e-3, atol=1e-4)


def test_a_kept_plan_gives_the_same_answer(net):
    plan = net.plan(geometry())
    ours, fresh = net.predict(*images(), plan), net.predict(*images(), geometry())
    assert torch.equal(ours.labels, fresh.labels)


def test_autocast_keeps_geometry_and_probabilities_in_single_precision(net):
    exact = net.predict(*images(), geometry())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = net.predict(*images(), geometry())
    assert rough.confidence.dtype == rough.depth_prob.dtype == torch.float32
    # Random weights decide by hair's breadth; trained ones agree far better.
    assert (rough.labels == exact.labels).float().mean() > 0.8
    torch.testing.assert_close(rough.depth_prob, exact.depth_prob, rtol=0.1, atol=1e-3)


def test_prediction_never_runs_what_only_training_needs(net):
    seen = []
    training_only = (net.point_head, net.view_transformer.distillation, *net.neck.fpn_convs[1:])
    handles = [m.register_forward_hook(lambda module, *_: seen.append(module)) for m in
               training_only]  # fmt: skip
    net.predict(*images(), geometry())
    for handle in handles:
        handle.remove()
    assert not seen


@pytest.mark.parametrize("batch", [1, 2])
def test_one_training_step_reaches_every_parameter_but_the_unused_levels(batch):
    torch.manual_seed(0)
    net = VLScene(CONFIG).train()
    output = net(
        *images(batch), geometry(batch), teacher(batch), [points(5 + i) for i in range(batch)]
    )
    assert output.point_logits.shape == (sum(5 + i for i in range(batch)), CONFIG.classes)
    view = output.view
    parts = (output.logits, view.depth_prob, output.point_logits, *view.distillation)
    sum(part.square().mean() for part in parts).backward()
    silent = {name for name, p in net.named_parameters() if p.grad is None}
    assert silent == {f"neck.fpn_convs.{i}.{p}" for i in (1, 2, 3) for p in ("weight", "bias")}


def test_the_backbone_keeps_its_statistics_while_training():
    net = VLScene(CONFIG).train()
    norms = [m for m in net.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    assert net.head.training
    before = norms[0].running_mean.clone()
    net(*images(), geometry())
    assert torch.equal(norms[0].running_mean, before)
    assert norms[0].weight.requires_grad
