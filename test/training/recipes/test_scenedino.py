"""Both stages of SceneDINO's training at toy size."""

import dataclasses

import pytest
import timm
import torch
from training.recipes.tiny_scenedino import CONFIG, Samples, field_sample, input_sample

from occ_perception.core.errors import ConfigError, WeightsError
from occ_perception.systems.scenedino.checkpoint import SceneDinoCheckpoint
from occ_perception.systems.scenedino.dino_checkpoint import DinoCheckpoint
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.semantic_head import ClusterHead
from occ_perception.weights.convert import convert_state
from occ_perception.weights.files import write_weights
from occ_perception.weights.load import load_weights
from occ_training.engine.checkpointing import CheckpointError, CheckpointFolder
from occ_training.engine.schedule import EpochDrops
from occ_training.engine.trainer import Trainer
from occ_training.labels.toy_patches import ToyPatchNetwork
from occ_training.recipes import scenedino, scenedino_classes
from occ_training.recipes.export import export_weights
from occ_training.recipes.request import Request
from occ_training.recipes.scenedino_naming import Naming, name_clusters
from occ_training.recipes.scenedino_request import (
    begin,
    build_classes,
    build_field,
    fill_field,
    fill_from_run,
    fill_vits,
)
from occ_training.recipes.scenedino_step import LossWeights

FIELD = dataclasses.replace(CONFIG, classes=0)


def loop(preset, output, **changes):
    values = {"device": "cpu", "precision": "fp32", "keep": 1, "log_every": 1, "epochs": 1000}
    changed = dataclasses.replace(preset.loop, output=output, **(values | changes))
    return dataclasses.replace(preset, loop=changed)


def field_preset(output, steps):
    training = scenedino.SceneDinoTraining(
        rate=5e-3, encoder_rate=1e-3, schedule=EpochDrops(), patches=4,
        weights=LossWeights(feature=1.0, concentration=0.1),
    )  # fmt: skip
    preset = dataclasses.replace(scenedino.nano(output), network=FIELD, training=training)
    return loop(preset, output, steps=steps)


def field_trainer(output, steps, times=50):
    preset = field_preset(output, steps)
    dataset = Samples(field_sample, times=times)
    recipe = scenedino.build_recipe(preset, dataset, ToyPatchNetwork(192))
    return Trainer(recipe, preset.loop)


def classes_trainer(output, steps, times=50):
    training = scenedino_classes.ClassesTraining(crop_samples=8, crops=8, every=4, rate=1e-2)
    preset = dataclasses.replace(scenedino_classes.nano(output), network=CONFIG, training=training)
    preset = loop(preset, output, steps=steps)

    def opaque(network):
        """A field that is dense everywhere: surfaces all around each centre."""
        torch.nn.init.constant_(network.field.lin_out.bias[:1], 3.0)

    dataset = Samples(input_sample, times=times)
    recipe = scenedino_classes.build_recipe(preset, dataset, opaque)
    return Trainer(recipe, preset.loop)


def mean_loss(trainer, rounds=4):
    torch.manual_seed(0)
    batch = trainer.recipe.collate([trainer.recipe.dataset[0], trainer.recipe.dataset[1]])
    with torch.no_grad():
        terms = [trainer.recipe.losses(trainer.network.train(), batch) for _ in range(rounds)]
    return {name: float(sum(t[name] for t in terms)) / rounds for name in terms[0]}


def test_two_places_are_learnt_by_heart(tmp_path):
    trainer = field_trainer(tmp_path, steps=25)
    before = mean_loss(trainer)
    trainer.fit()
    after = mean_loss(trainer)
    assert set(after) == {"rgb", "feature", "smoothness", "feature_smoothness", "concentration"}
    assert after["feature"] < 0.6 * before["feature"]


def test_the_patch_network_itself_is_never_trained(tmp_path):
    trainer = field_trainer(tmp_path, steps=1)
    trained = {id(p) for group in trainer.recipe.optimizer.param_groups for p in group["params"]}
    network = trainer.network
    assert not trained & {id(p) for p in network.targets.encoder.parameters()}
    assert trained == {id(p) for p in network.parameters() if p.requires_grad}


def test_classes_come_out_of_the_second_stage(tmp_path):
    trainer = classes_trainer(tmp_path, steps=15)
    before, field = mean_loss(trainer), trainer.network.field.lin_in.weight.clone()
    trainer.fit()
    after = mean_loss(trainer)
    assert {"self", "knn", "random", "stego_cluster", "direct_linear"} <= set(after)
    assert sum(after.values()) < 0.8 * sum(before.values())
    assert torch.equal(field, trainer.network.field.lin_in.weight)
    assert trainer.network.buffer.filled == 8


@pytest.mark.parametrize("make", [field_trainer, classes_trainer])
def test_resumed_equals_uninterrupted(tmp_path, make):
    for name, parts in (("whole", [3]), ("parts", [1, 3])):
        for steps in parts:
            trainer = make(tmp_path / name, steps, times=1)
            trainer.resume()
            trainer.fit()
    whole, parts = (CheckpointFolder(tmp_path / name).newest().model for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_clusters_are_named_by_the_labels_in_them():
    head = ClusterHead(19, 19)
    torch.nn.init.eye_(head.centres)
    names = torch.arange(19).roll(5)
    metric = name_clusters(head, torch.eye(19).repeat(3, 1), names.repeat(3))
    assert torch.equal(head.assignment, names)
    assert metric.unsupervised().miou == 1


def test_naming_scores_every_way_to_a_class():
    torch.manual_seed(0)
    network = scenedino_classes.SemanticSceneDino(
        CONFIG, scenedino_classes.ClassesTraining(every=4)
    )
    network.train()
    scores = Naming(Samples(input_sample, times=1), frames=2, kmeans=True)(network)
    assert set(scores) >= {"stego_miou", "weighted_miou", "direct_miou", "direct_linear_miou"}
    assert network.training and not network.encoder.training
    for clusters in (network.semantics.stego_clusters, network.semantics.direct_clusters):
        torch.testing.assert_close(clusters.centres.norm(dim=1), torch.ones(19))
        assert sorted(clusters.assignment.tolist()) == list(range(19))


def test_the_first_stage_carries_the_second(tmp_path):
    trainer = field_trainer(tmp_path / "run", steps=1)
    trainer.fit()
    weights = export_weights(
        trainer.folder, SceneDinoCheckpoint(FIELD), tmp_path / "w.safetensors", half=False
    )
    load_weights(SceneDino(FIELD), weights, "scenedino")
    network = scenedino_classes.SemanticSceneDino(CONFIG, scenedino_classes.ClassesTraining())
    fill_field(network, weights)
    assert torch.equal(network.field.lin_in.weight, trainer.network.field.lin_in.weight)
    started = scenedino.TrainableSceneDino(FIELD)
    preset = field_preset(tmp_path, 1)
    training = dataclasses.replace(preset.training, start=str(weights))
    begin(started, dataclasses.replace(preset, training=training), "toy")
    assert torch.equal(started.expansion.linear_in.weight, network.expansion.linear_in.weight)
    again = scenedino.TrainableSceneDino(FIELD)
    fill_from_run(again, tmp_path / "run")
    assert torch.equal(again.targets.artifacts, trainer.network.targets.artifacts)


def test_encoder_and_twin_start_as_the_pretrained_network(tmp_path):
    torch.manual_seed(0)
    about = DinoCheckpoint(FIELD)
    square = timm.create_model(FIELD.vit, num_classes=0, depth=4, patch_size=8, img_size=32)
    state, _ = convert_state(about, square.state_dict() | {"mask_token": torch.zeros(1)}, "dino")
    named = {"system": "dino", "config": {}, "labels": "", "grid": {}, "licence": ""}
    file = tmp_path / "dino.safetensors"
    write_weights(file, state, named | {"source": "", "source_sha256": ""})
    network = scenedino.TrainableSceneDino(FIELD)
    fill_vits(network, file)
    for encoder in (network.encoder, network.targets.encoder):
        vit = encoder.transformer.vit
        assert torch.equal(vit.blocks[3].attn.qkv.weight, square.blocks[3].attn.qkv.weight)
        assert vit.pos_embed.shape == (1, 1 + 4 * 8, 192)
    with pytest.raises(ConfigError, match="learns from the features of a frozen ViT"):
        scenedino.build_recipe(
            field_preset(tmp_path, 1), Samples(field_sample),
            start=lambda network: begin(network, field_preset(tmp_path, 1), ""),
        )  # fmt: skip


def test_bad_starts_are_refused(tmp_path):
    field = field_preset(tmp_path, 1)
    with pytest.raises(ConfigError, match="no bags"):
        build_field(field, Request((), teacher="toy"))
    with pytest.raises(CheckpointError, match="no checkpoint to start from"):
        fill_from_run(scenedino.TrainableSceneDino(FIELD), tmp_path)
    with pytest.raises(ConfigError, match="stands on the first"):
        build_classes(scenedino_classes.nano(tmp_path), Request(()))
    network = scenedino_classes.SemanticSceneDino(CONFIG, scenedino_classes.ClassesTraining())
    with pytest.raises(WeightsError):
        fill_field(network, tmp_path / "missing.safetensors")


def test_presets_are_the_published_numbers(tmp_path):
    first, second = scenedino.published(tmp_path), scenedino_classes.published(tmp_path)
    assert (first.training.rate, first.training.encoder_rate) == (1e-4, 1e-5)
    assert (first.loop.steps, first.loop.batch_size, first.loop.precision) == (100_000, 4, "fp16")
    assert first.training.schedule.factor(50_000, 0) == pytest.approx(0.1)
    assert first.training.weights == LossWeights(1.0, 0.2, 0.001, 0.25)
    assert scenedino.dinov2(tmp_path).training.patches == 8
    assert (second.training.rate, second.training.probe_rate) == (5e-4, 5e-3)
    assert (second.loop.steps, second.loop.batch_size) == (1000, 4)
    assert (second.training.crop_samples, second.training.crops) == (576, 256)
