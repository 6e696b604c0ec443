"""LangOcc's training (paper, section 4; defaults of the published configuration "Full")."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError
from occ_perception.rendering.feature_rays import RaySampling
from occ_perception.systems.langocc.checkpoint import adopt_bevdet
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.model import LangOcc
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.embeddings import TextEmbeddings, load_embeddings
from occ_perception.text.vocabulary import load_vocabulary
from occ_perception.weights.convert import read_checkpoint, state_dict_of
from occ_perception.weights.load import load_weights
from occ_training.data.beam_sight import BeamSightSpec
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import LANGOCC, LateCosine, StepCosine, Warmup
from occ_training.labels.toy_text import ToyTextEncoder
from occ_training.recipes.clip_reducer import read_reducer, train_reducer
from occ_training.recipes.langocc_data import LangOccDataset, LanguageTopics, RayTargets
from occ_training.recipes.langocc_step import LangOccLosses, TrainableLangOcc, collate
from occ_training.recipes.preset import Preset


@dataclass(frozen=True)
class ReducerTraining:
    """How the reducer is fitted to the vocabulary (only "Reduced" has one).

    Attributes:
        steps: At most so many.
        rate: Learning rate.
        weights: File with a reducer that was fitted before (`occ words reducer`), needed where the
            label layers were made with it; empty = fit one.
    """

    steps: int = 250
    rate: float = 1e-3
    weights: str = ""


@dataclass(frozen=True)
class LangOccTraining:
    """Everything that decides what a training computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate.
        weight_decay: Of AdamW, on all parameters.
        schedule: The learning rate over the training.
        ema: Averaging of the weights, None = none.
        targets: Which rays are rendered.
        sampling: How.
        sight: Weight of what LiDAR beams say about voxels; 0 = the geometry follows from the words
            alone, as published.
        density: Density everywhere at the start, 1/m; 0.5 is what an untrained sigmoid gives.
        augments: Resize, crop, mirror and turn images, and mirror the vehicle's frame, at random.
        reducer: How the reducer is fitted.
        embeddings: Text embeddings of the vocabulary; empty = the toy encoder's, if the network
            speaks its language.
        bevdet: Weights of BEVDet to start from, `bevdet-r50-4d-stereo-cbgs.pth`; empty = random.
        start: Weights of this network to go on from, as another training left them; empty = none.
        keeps: Keep the teacher's vectors in memory; for small worlds.
        topics: Where in the bags things are.
    """

    rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: LateCosine | StepCosine = LANGOCC
    ema: EmaConfig | None = field(default_factory=EmaConfig)
    targets: RayTargets = field(default_factory=RayTargets)
    sampling: RaySampling = field(default_factory=RaySampling)
    sight: float = 0.0
    density: float = 0.5
    augments: bool = True
    reducer: ReducerTraining = field(default_factory=ReducerTraining)
    embeddings: str = ""
    bevdet: str = ""
    start: str = ""
    keeps: bool = False
    topics: LanguageTopics = field(default_factory=LanguageTopics)


@dataclass(frozen=True)
class LangOccPreset(Preset):
    """A network with the training that belongs to it."""

    network: LangOccConfig
    training: LangOccTraining


def published(output: Path) -> LangOccPreset:
    """The published model "Full": 18 epochs of 4 x 4 samples."""
    loop = LoopConfig(output, epochs=18, batch_size=4, clip_norm=5.0, workers=8, keep=3)
    return LangOccPreset(LangOccConfig(), LangOccTraining(), loop)


def reduced(output: Path) -> LangOccPreset:
    """The published model "Reduced": smaller vectors leave room for more rays."""
    training = LangOccTraining(targets=RayTargets(count=14336))
    return LangOccPreset(LangOccConfig.reduced(), training, published(output).loop)


def nano(output: Path, steps: int = 2800) -> LangOccPreset:
    """The small network from nothing, on a CPU: short, hot, averaged, with few rays.

    Words alone shape the geometry only in a long training; here the LiDAR's beams help.
    """
    training = LangOccTraining(
        rate=3e-3,
        schedule=StepCosine(steps, warmup=Warmup(50, 0.02)),
        ema=EmaConfig(decay=0.98, ramp=50.0, start=0),
        targets=RayTargets(count=1024, sight=BeamSightSpec()),
        sampling=RaySampling(fine=40),
        sight=4.0,
        density=0.1,
        augments=False,
        reducer=ReducerTraining(steps=1000, rate=1e-2),
        keeps=True,
    )
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=1, clip_norm=5.0, workers=0,
        checkpoint_every=50, keep=2,
    )  # fmt: skip
    return LangOccPreset(LangOccConfig.nano(), training, loop)


PRESETS: Mapping[str, Callable[[Path], LangOccPreset]] = {
    "published": published,
    "reduced": reduced,
    "nano": nano,
}


def build_recipe(
    preset: LangOccPreset,
    bags: Sequence[Any],
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        bags: Drives with their label layers.
        validate: Scores of a network, after every epoch.

    Raises:
        OccError: Bags, layers, embeddings or initial weights cannot be used.
    """
    training, config = preset.training, preset.network
    torch.manual_seed(preset.loop.seed)
    network = TrainableLangOcc(config)
    last = network.density_head[-1].bias
    nn.init.constant_(last, float(torch.logit(torch.tensor(training.density))))
    notes = [adopted(network, Path(training.bevdet))] if training.bevdet else []
    if training.start:
        load_weights(network, Path(training.start), "langocc")
    elif network.reducer is not None:
        fit_reducer(network.reducer, preset)
    dataset = LangOccDataset(
        bags, config, training.targets, training.topics, reduce=frozen(network.reducer, preset),
        augments=training.augments, keeps=training.keeps, seed=preset.loop.seed,
    )  # fmt: skip
    trained = [p for p in network.parameters() if p.requires_grad]
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(trained, lr=training.rate, weight_decay=training.weight_decay),
        schedule=training.schedule,
        dataset=dataset,
        collate=collate,
        losses=LangOccLosses(network, training.sampling, training.sight),
        config=plain(training)
        | {
            "network": plain(config),
            "bags": sorted(scene.name for scene in dataset.source.scenes),
        },
        validate=validate,
        best="miou",
        ema=training.ema,
        notes=tuple(notes),
    )


def adopted(network: LangOcc, path: Path) -> str:
    """Start from a file of BEVDet's weights, as far as they fit; tells what did.

    Raises:
        WeightsError: The file cannot be read, or nothing in it fits.
    """
    report = adopt_bevdet(network, state_dict_of(read_checkpoint(path), path.name))
    return f"starting weights from {path.name}: {report}"


def vocabulary_embeddings(preset: LangOccPreset) -> TextEmbeddings:
    """Vectors of the vocabulary in the language that the network speaks.

    Raises:
        ConfigError: There are none, or they are of another CLIP.
    """
    config, prompts = preset.network, load_vocabulary(preset.network.vocabulary).prompts
    if preset.training.embeddings:
        stored = load_embeddings(Path(preset.training.embeddings), config.clip)
        return replace(stored, prompts=prompts, vectors=stored.find(prompts))
    encoder = ToyTextEncoder(config.clip_channels)
    if config.clip != encoder.clip:
        raise ConfigError(
            f"the reducer is fitted to words: give training.embeddings, the vectors of the "
            f"vocabulary '{config.vocabulary}' by {config.clip} (occ words embed)"
        )
    return encoder.encode(prompts)


def fit_reducer(reducer: ClipReducer, preset: LangOccPreset) -> None:
    """Fit the reducer to the vocabulary, or take over one that was.

    Raises:
        OccError: Embeddings or file are missing, or of another CLIP.
    """
    how = preset.training.reducer
    if how.weights:
        return read_reducer(reducer, Path(how.weights))
    vectors = vocabulary_embeddings(preset).vectors
    train_reducer(reducer.requires_grad_(), vectors, how.steps, how.rate)
    reducer.requires_grad_(False)
    return None


def frozen(reducer: ClipReducer | None, preset: LangOccPreset) -> Callable[[Tensor], Tensor] | None:
    """From the label layers' vectors to those of the voxels, as a plain function for workers."""
    if reducer is None:
        return None
    known = bool(preset.training.reducer.weights or preset.training.start)
    clip, small = reducer.U.shape

    @torch.no_grad()
    def reduce(vectors: Tensor) -> Tensor:
        if vectors.shape[1] == small and not known:
            raise ConfigError(
                "the label layers were made with a reducer: name it (training.reducer.weights)"
            )
        return reducer(vectors) if vectors.shape[1] == clip else vectors

    return reduce
