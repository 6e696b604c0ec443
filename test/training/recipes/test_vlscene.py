import dataclasses

import pytest
import torch
from training.recipes.tiny_vlscene import CONFIG, sample

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vlscene.checkpoint import VLSceneCheckpoint
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.weights.load import load_weights
from occ_training.engine.checkpointing import CheckpointError, CheckpointFolder
from occ_training.engine.recipe import LoopConfig, Recipe
from occ_training.engine.schedule import StepCosine
from occ_training.engine.trainer import Trainer
from occ_training.recipes.export import export_weights
from occ_training.recipes.preset import with_steps
from occ_training.recipes.vlscene import (
    PRESETS,
    TrainableVLScene,
    VLSceneOfGivenImages,
)
from occ_training.recipes.vlscene_step import LossOptions, VLSceneLosses, collate

TERMS = {
    "voxel_cross_entropy", "voxel_semantic", "voxel_geometric", "depth", "feature", "pixel_label",
    "point_cross_entropy", "point_lovasz",
}  # fmt: skip


class Toys(torch.utils.data.Dataset):
    """A few samples, many times over, so that an epoch (and its checkpoint) is long."""

    def __init__(self, count=2, times=50):
        self.samples = [sample(number) for number in range(count)] * times

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def recipe(count=2, times=50, rate=2e-3, steps=100):
    torch.manual_seed(0)
    network = TrainableVLScene(CONFIG)
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=rate),
        schedule=StepCosine(steps),
        dataset=Toys(count, times),
        collate=collate,
        losses=VLSceneLosses(network.plan),
        config={"rate": rate},
    )


def loop(output, **changes):
    values = {"epochs": 1000, "batch_size": 2, "workers": 0, "device": "cpu", "log_every": 1}
    return LoopConfig(output, **(values | {"clip_norm": 5.0, "keep": 1} | changes))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return VLScene(CONFIG)


def test_all_published_terms_are_there_and_reach_the_network(network):
    losses = VLSceneLosses(network.plan)(network, collate([sample(0), sample(1)]))
    assert set(losses) == TERMS
    for name, term in losses.items():
        gradients = torch.autograd.grad(
            term, list(network.parameters()), retain_graph=True, allow_unused=True
        )
        assert any(g is not None and g.abs().sum() > 0 for g in gradients), name


def test_without_lidar_and_teacher_only_voxels_teach(network):
    bare = sample(0)._replace(depth_bins=None, points=None, point_labels=None, teacher=None)
    losses = VLSceneLosses(network.plan)(network, collate([bare]))
    assert set(losses) == {"voxel_cross_entropy", "voxel_semantic", "voxel_geometric"}


def test_a_teacher_is_asked_where_no_answer_comes_along(network):
    asked = []

    class Teacher:
        def __call__(self, given):
            asked.append(given.image.shape)
            return collate([sample(1)]).teacher

    losses = VLSceneLosses(network.plan, Teacher())
    assert "feature" in losses(network, collate([sample(0)._replace(teacher=None)]))
    assert asked == [(1, 3, 64, 96)]
    losses(network, collate([sample(0)]))
    assert len(asked) == 1


def test_truth_that_knows_nothing_teaches_nothing(network):
    unknown = sample(0)._replace(truth=torch.full(CONFIG.grid.shape, 255, dtype=torch.uint8))
    losses = VLSceneLosses(network.plan)(network, collate([unknown]))
    voxels = [value for name, value in losses.items() if name.startswith("voxel")]
    assert all(value == 0 and value.isfinite() for value in voxels)


def test_two_samples_are_learnt_by_heart(tmp_path):
    made = recipe()
    trainer = Trainer(made, loop(tmp_path, steps=100))
    trainer.fit()
    network = trainer.network.eval()
    for number in range(2):
        one = sample(number)
        answer = network.predict(one.left[None], one.right[None], one.geometry).labels[0]
        known = one.truth != 255
        right = (answer == one.truth)[known & (one.truth > 0)].float().mean()
        assert right > 0.8, f"sample {number}"


def test_resumed_equals_uninterrupted(tmp_path):
    for name, parts in (("whole", [4]), ("parts", [1, 3, 4])):
        for steps in parts:
            trainer = Trainer(recipe(3, 1), loop(tmp_path / name, batch_size=1, steps=steps))
            trainer.resume()
            trainer.fit()
    whole, parts = (CheckpointFolder(tmp_path / name).newest().model for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_weights_of_a_run_load_into_the_system(tmp_path):
    trainer = Trainer(recipe(), loop(tmp_path / "run", steps=1))
    with pytest.raises(CheckpointError, match="no checkpoint 'last' yet"):
        export_weights(trainer.folder, VLSceneCheckpoint(CONFIG), tmp_path / "w.safetensors")
    trainer.fit()
    target = export_weights(trainer.folder, VLSceneCheckpoint(CONFIG), tmp_path / "w.safetensors")
    network = VLScene(CONFIG)
    info = load_weights(network, target, "vlscene")
    assert info.source == "run, step 1"
    trained = trainer.network.head.classify.weight
    torch.testing.assert_close(network.head.classify.weight, trained, atol=1e-3, rtol=1e-3)


def test_a_stage_teaches_its_own_part_alone():
    torch.manual_seed(0)
    batch, network = collate([sample(0)]), TrainableVLScene(CONFIG)
    options = LossOptions(stage="images", branch_weight=0.5)
    terms = VLSceneLosses(network.plan, options=options)(network, batch)
    assert set(terms) == {"depth", "depth_stereo", "depth_mono", "feature", "pixel_label"}
    sum(terms.values()).backward()
    taught = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert taught == {"backbone", "neck", "view_transformer"}

    network = VLSceneOfGivenImages(CONFIG).train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    terms = VLSceneLosses(network.plan, options=LossOptions(stage="voxels"))(network, batch)
    assert set(terms) == TERMS - {"depth", "feature", "pixel_label"}
    sum(terms.values()).backward()
    taught = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert taught == {"sparse_unet", "head", "point_head"}
    for name, tensor in network.view_transformer.state_dict(prefix="view_transformer.").items():
        assert torch.equal(before[name], tensor), name


def test_frozen_norms_stay_and_learnt_ones_follow():
    published, small = VLScene(CONFIG).train(), TrainableVLScene(CONFIG).train()
    assert not published.backbone.training and small.backbone.training
    assert published.head.training


def test_presets_are_the_published_numbers(tmp_path):
    preset = PRESETS["published"](tmp_path)
    training, config = preset.training, preset.loop
    assert (training.rate, training.weight_decay, training.ema) == (1e-4, 0.01, None)
    assert (config.epochs, config.batch_size, config.clip_norm) == (30, 2, 5.0)
    assert config.precision == "fp32" and preset.network.published_slips


def test_another_length_stretches_the_cosine(tmp_path):
    preset = with_steps(PRESETS["nano"](tmp_path), 50)
    assert preset.loop.steps == preset.training.schedule.steps == 50
    assert preset.training.schedule.warmup.steps == 5


def test_a_training_without_truth_is_refused(tmp_path):
    from occ_training.recipes.vlscene import build_recipe

    preset = PRESETS["nano"](tmp_path)
    topics = dataclasses.replace(preset.training.topics, voxels="")
    training = dataclasses.replace(preset.training, topics=topics)
    with pytest.raises(ConfigError, match="needs a topic with voxel truth"):
        build_recipe(dataclasses.replace(preset, training=training), [tmp_path])
