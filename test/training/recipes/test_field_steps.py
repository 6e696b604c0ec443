"""Both field systems learn at toy size: a step lowers the loss, and everything gets a gradient."""

import dataclasses

import numpy as np
import pytest
import torch
from bench.plain_rays import photometric_term

from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.targets import FeatureTargets
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc
from occ_training.data.patches import random_cells, random_patches
from occ_training.data.views import MultiView, crossed_partition, paired_partition
from occ_training.recipes import scenedino_step, vipocc_step
from occ_training.recipes.rendered_patches import PatchDraws

SIZE, PATCH, SAMPLES = (64, 128), 16, 8


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 8, 3, *SIZE, generator=generator) * 2 - 1
    poses = torch.eye(4).repeat(2, 8, 1, 1)
    poses[:, :, 2, 3] = torch.arange(8.0) * 0.3 + 3000
    K = torch.tensor([[0.8, 0, 0], [0, 2.0, 0], [0, 0, 1]]).expand(2, 8, 3, 3)
    return MultiView(images, K, poses, torch.full((2, 2, 1, *SIZE), 20.0))


def jitter(count, patch=PATCH):
    return torch.full((2, count * patch**2, SAMPLES), 0.5)


def descends(parameters, loss):
    """Adam lowers a loss with fixed draws, and every parameter takes part."""
    optimiser = torch.optim.Adam(parameters, lr=1e-3)
    values = []
    for _ in range(4):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert all(p.grad is not None for p in parameters)
    assert values[-1] < values[0]


@pytest.mark.parametrize("depth_branch", [True, False], ids=["vipocc", "bts"])
def test_vipocc_learns(views, depth_branch):
    torch.manual_seed(0)
    config = dataclasses.replace(
        ViPOccConfig.nano(), input_size=SIZE, samples=SAMPLES, depth_branch=depth_branch
    )
    model = ViPOcc(config).train()
    weights = vipocc_step.LossWeights() if depth_branch else vipocc_step.LossWeights.bts()
    generator = torch.Generator().manual_seed(0)
    draws = vipocc_step.Draws(
        PatchDraws(
            crossed_partition(np.random.default_rng(0)),
            random_patches(2, 3, 4, SIZE, PATCH, generator),
            jitter(3),
        ),
        random_patches(2, 2, 1, SIZE, PATCH, generator),
        jitter(2),
        flip=True,
    )
    parameters = list(model.parameters())
    descends(parameters, lambda: vipocc_step.train_step(model, views, draws, weights).total)


def test_the_batched_step_computes_what_the_papers_write_ray_by_ray(views):
    torch.manual_seed(0)
    config = dataclasses.replace(
        ViPOccConfig.nano(), input_size=SIZE, samples=SAMPLES, depth_branch=False
    )
    model = ViPOcc(config).eval()  # batch statistics would differ by rounding alone
    generator = torch.Generator().manual_seed(0)
    partition = crossed_partition(np.random.default_rng(0))
    draws = PatchDraws(
        partition,
        random_patches(2, 3, 4, SIZE, PATCH, generator),
        torch.rand(2, 3 * PATCH**2, SAMPLES, generator=generator),
    )
    nothing = random_patches(2, 1, 1, SIZE, PATCH, generator)
    step = vipocc_step.Draws(draws, nothing, jitter(1))
    ours = vipocc_step.train_step(model, views, step, vipocc_step.LossWeights.bts()).terms["rgb"]
    plain = photometric_term(model, views, draws)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    weights = [p for p in model.parameters() if p.requires_grad]
    for a, b in zip(
        torch.autograd.grad(ours, weights), torch.autograd.grad(plain, weights), strict=True
    ):
        assert float((a - b).norm()) <= 1e-3 * float(b.norm()) + 1e-6


def test_scenedino_learns(views):
    torch.manual_seed(0)
    config = dataclasses.replace(
        SceneDinoConfig.nano(), input_size=SIZE, samples=SAMPLES, classes=0
    )
    model, targets = SceneDino(config).train(), FeatureTargets(config).train()
    draws = scenedino_step.Draws(
        paired_partition(8, np.random.default_rng(0)),
        random_cells(2, 3, 4, config.patch_grid, torch.Generator().manual_seed(0)),
        (-3, 5),
        jitter(3, config.patch),
    )
    trained = [*model.parameters(), *targets.downsampler.parameters(), targets.artifacts]
    weights = scenedino_step.LossWeights()
    descends(
        trained, lambda: scenedino_step.train_step(model, targets, views, draws, weights).total
    )
    assert all(p.grad is None for p in targets.encoder.parameters())
