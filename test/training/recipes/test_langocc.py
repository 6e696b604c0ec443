import dataclasses

import pytest
import torch
from torch.nn import functional as F
from training.recipes.tiny_langocc import CONFIG, sample, words

from occ_perception.core.errors import ConfigError, WeightsError
from occ_perception.geometry.rays import Rays
from occ_perception.rendering.feature_rays import RaySampling, render_features
from occ_perception.systems.langocc.checkpoint import NAMES
from occ_perception.systems.langocc.model import LangOcc
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.embeddings import TextEmbeddings, save_embeddings
from occ_training.engine.checkpointing import CheckpointFolder
from occ_training.engine.recipe import LoopConfig, Recipe
from occ_training.engine.schedule import StepCosine
from occ_training.engine.trainer import Trainer
from occ_training.recipes.langocc import PRESETS, adopted, frozen, vocabulary_embeddings
from occ_training.recipes.langocc_step import LangOccLosses, TrainableLangOcc, collate

SAMPLING = RaySampling(far_m=8.0, coarse=12, fine=16)


class Toys(torch.utils.data.Dataset):
    """A few samples, many times over, so that an epoch (and its checkpoint) is long."""

    def __init__(self, count, times):
        self.samples = [sample(number) for number in range(count)] * times

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def recipe(count=2, times=50, rate=5e-3, steps=100):
    torch.manual_seed(0)
    network = TrainableLangOcc(CONFIG)
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=rate),
        schedule=StepCosine(steps),
        dataset=Toys(count, times),
        collate=collate,
        losses=LangOccLosses(network, SAMPLING),
        config={"rate": rate},
    )


def loop(output, **changes):
    values = {"epochs": 1000, "batch_size": 2, "workers": 0, "device": "cpu", "log_every": 50}
    return LoopConfig(output, **(values | {"clip_norm": 5.0, "keep": 1} | changes))


def test_the_loss_reaches_every_part_of_the_network():
    made = recipe()
    loss = made.losses(made.network.train(), collate([sample(0), sample(1)]))
    assert set(loss) == {"language"} and loss["language"] > 0.1
    loss["language"].backward()
    parts = {n.split(".")[0] for n, p in made.network.named_parameters() if p.grad is not None}
    assert parts == {"backbone", "neck", "depth_net", "pre_process", "encoder", "final",
                     "density_head", "language_head"}  # fmt: skip


def test_beams_teach_density_only_where_they_are_asked_for():
    made = recipe()
    network, batch = made.network.eval(), collate([sample(0)])
    losses = LangOccLosses(network, SAMPLING, sight=0.5)
    found = losses(network, batch)
    assert set(found) == {"language", "sight"}
    (slope,) = torch.autograd.grad(found["sight"], network.density_head[-1].bias, retain_graph=True)
    assert slope.isfinite() and slope != 0
    fields = network(batch.images, network.plan(batch.geometry))
    voxels, is_free = batch.sight.voxels, batch.sight.free
    density = network.at_labels(fields.density).flatten(1).gather(1, voxels)
    expected = F.binary_cross_entropy(density, (~is_free).float())
    torch.testing.assert_close(found["sight"], 0.5 * expected)
    unknown = batch.sight._replace(voxels=torch.full_like(voxels, -1))
    assert losses(network, batch._replace(sight=unknown))["sight"] == 0


def test_rays_that_only_fill_up_teach_nothing():
    made = recipe()
    made.network.eval()
    batch = collate([sample(0)])
    none = batch._replace(weights=torch.zeros_like(batch.weights))
    assert made.losses(made.network, none)["language"] == 0


def test_two_samples_are_learnt_by_heart(tmp_path):
    trainer = Trainer(recipe(), loop(tmp_path, steps=100))
    trainer.fit()
    network = trainer.network.eval()
    for number in range(2):
        batch = collate([sample(number)])
        directions, _ = words(1000 + number)  # rays that were not trained on
        with torch.no_grad():
            fields = network(batch.images, network.plan(batch.geometry))
            rays = Rays(torch.zeros(1, len(directions), 3), directions[None])
            jitter = torch.full((1, len(directions), SAMPLING.coarse - 1), 0.5)
            found = render_features(fields.density, fields.vectors, rays, jitter,
                                    CONFIG.volume, SAMPLING).vectors[0]  # fmt: skip
        ahead = directions[:, 0] > 0.3
        own = batch.targets[0][batch.rays.directions[0, :, 0] > 0][0]
        assert F.cosine_similarity(found[ahead], own[None]).mean() > 0.8, f"sample {number}"
        assert F.cosine_similarity(found[directions[:, 0] < -0.3], own[None]).mean() < 0.6


def test_resumed_equals_uninterrupted(tmp_path):
    for name, parts in (("whole", [4]), ("parts", [1, 3, 4])):
        for steps in parts:
            trainer = Trainer(recipe(3, 1), loop(tmp_path / name, batch_size=1, steps=steps))
            trainer.resume()
            trainer.fit()
    whole, parts = (CheckpointFolder(tmp_path / name).newest().model for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_presets_are_the_published_numbers(tmp_path):
    full, reduced = (PRESETS[name](tmp_path) for name in ("published", "reduced"))
    training, run = full.training, full.loop
    assert (training.rate, training.weight_decay, training.density) == (1e-4, 0.01, 0.5)
    assert training.sight == 0 and training.targets.sight is None
    assert (training.targets.count, reduced.training.targets.count) == (8192, 14336)
    assert (full.network.language_channels, reduced.network.language_channels) == (512, 128)
    assert (run.epochs, run.batch_size, run.clip_norm, run.precision) == (18, 4, 5.0, "fp32")
    assert (training.sampling.coarse, training.sampling.fine) == (50, 100)
    assert (training.ema.start, training.ema.decay) == (10560, 0.999)


def test_bevdets_weights_are_taken_over_as_far_as_they_fit(tmp_path):
    network = LangOcc(CONFIG)
    fitting, of_other_size = "neck.fpn_convs.0.bias", "depth_net.context_conv.bias"
    official = {
        NAMES.official(fitting): torch.full((16,), 3.0),
        NAMES.official(of_other_size): torch.ones(80),
        "something.else": torch.ones(1),
    }
    torch.save({"state_dict": official}, tmp_path / "bevdet.pth")
    note = adopted(network, tmp_path / "bevdet.pth")
    assert "1 entries adopted, 1 of another size" in note and "1 without a counterpart" in note
    assert (network.state_dict()[fitting] == 3).all()
    torch.save({"state_dict": {"x": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="BEVDet"):
        adopted(network, tmp_path / "other.pth")


def test_a_reducer_is_fitted_to_words_of_its_own_clip_only(tmp_path):
    preset = PRESETS["nano"](tmp_path)
    assert vocabulary_embeddings(preset).vectors.shape[1] == preset.network.clip_channels
    real = PRESETS["reduced"](tmp_path)
    with pytest.raises(ConfigError, match=r"give training\.embeddings"):
        vocabulary_embeddings(real)
    toys = vocabulary_embeddings(preset)
    save_embeddings(tmp_path / "toys.safetensors", toys)
    training = dataclasses.replace(real.training, embeddings=str(tmp_path / "toys.safetensors"))
    with pytest.raises(ConfigError, match="was made with toy text encoder"):
        vocabulary_embeddings(dataclasses.replace(real, training=training))


def test_the_stored_words_of_a_preset_are_put_in_the_vocabularys_order(tmp_path):
    preset = PRESETS["nano"](tmp_path)
    made = vocabulary_embeddings(preset)
    turned = TextEmbeddings(made.clip, False, made.prompts[::-1], made.vectors.flip(0))
    save_embeddings(tmp_path / "turned.safetensors", turned)
    training = dataclasses.replace(preset.training, embeddings=str(tmp_path / "turned.safetensors"))
    found = vocabulary_embeddings(dataclasses.replace(preset, training=training))
    torch.testing.assert_close(found.vectors, made.vectors)


def test_layers_in_the_small_space_are_taken_only_with_the_reducer_they_were_made_with(tmp_path):
    preset = PRESETS["nano"](tmp_path)
    clip, small = preset.network.clip_channels, preset.network.language_channels
    reducer = ClipReducer(clip, small)
    stored = F.normalize(torch.randn(3, small), dim=-1)
    with pytest.raises(ConfigError, match="made with a reducer"):
        frozen(reducer, preset)(stored)
    how = dataclasses.replace(preset.training.reducer, weights="reducer.safetensors")
    training = dataclasses.replace(preset.training, reducer=how)
    known = frozen(reducer, dataclasses.replace(preset, training=training))
    assert torch.equal(known(stored), stored)
    assert known(torch.randn(3, clip)).shape == (3, small)
