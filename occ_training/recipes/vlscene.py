"""VLScene's training (paper, section 4; defaults of the published SemanticKITTI configuration)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.model import PointQueries, VLScene, VLSceneOutput
from occ_perception.systems.vlscene.preprocess import FitKind
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.view_transformer import PlanCache, ViewPlan
from occ_perception.weights.load import load_weights
from occ_training.data.semantickitti_labels import CLASS_VOXELS
from occ_training.engine.ema import EmaConfig
from occ_training.engine.recipe import LoopConfig, Recipe, plain
from occ_training.engine.schedule import VLSCENE, EpochDrops, Schedule, StepCosine, Warmup
from occ_training.labels.teacher import Teacher, TeacherInput
from occ_training.losses.distill import depth_bin_loss, feature_loss, pixel_label_loss
from occ_training.losses.ssc import (
    frequency_weights,
    labelled_voxels,
    point_cross_entropy,
    point_lovasz,
    row_terms,
)
from occ_training.recipes.preset import Preset
from occ_training.recipes.vlscene_data import VLSceneDataset, VLSceneSample, VLSceneTopics


@dataclass(frozen=True)
class VLSceneTraining:
    """Everything that decides what a training computes; the defaults are the published ones.

    Attributes:
        rate: Learning rate.
        weight_decay: Of AdamW.
        schedule: The learning rate over the training.
        ema: Averaging of the weights, None = none.
        frozen_backbone_norms: Keep the running statistics of the image backbone's batch norms, as
            is right for pretrained weights; without those they have to be learnt.
        semantic_weight: Of the affinity loss of classes, 1 as published. It asks for every class
            that a scene has, however few its voxels; a short training calls much of the air cars.
        voxels: At most so many labelled voxels are classified per step, drawn anew; 0 = all, as
            published.
        start: Converted weights of the whole network to start from; empty = random.
        backbone: Converted ImageNet weights of the backbone (`occ weights convert repvit ...`);
            empty = random.
        fit: How images are brought to the network's size.
        topics: Where in the bags things are.
    """

    rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: EpochDrops | StepCosine = VLSCENE
    ema: EmaConfig | None = None
    frozen_backbone_norms: bool = True
    semantic_weight: float = 1.0
    voxels: int = 0
    start: str = ""
    backbone: str = ""
    fit: FitKind = "auto"
    topics: VLSceneTopics = field(default_factory=VLSceneTopics)


@dataclass(frozen=True)
class VLScenePreset(Preset):
    """VLScene with its training."""

    network: VLSceneConfig
    training: VLSceneTraining


def published(output: Path) -> VLScenePreset:
    """SemanticKITTI as published: AdamW, 30 epochs, two drops, norm 5, float32, no augmentation."""
    loop = LoopConfig(output, epochs=30, batch_size=2, clip_norm=5.0, workers=8, keep=20)
    return VLScenePreset(VLSceneConfig(), VLSceneTraining(), loop)


def nano(output: Path, steps: int = 1000) -> VLScenePreset:
    """The small network from nothing, on a CPU: short, hot, averaged, in bfloat16.

    A step takes about a second of one core that knows bfloat16 (AVX-512), more elsewhere.
    """
    training = VLSceneTraining(
        rate=2e-3,
        schedule=StepCosine(steps, warmup=Warmup(50, 0.01)),
        ema=EmaConfig(decay=0.99, ramp=50.0, start=0),
        frozen_backbone_norms=False,
        semantic_weight=0.2,
        voxels=65536,
    )
    loop = LoopConfig(
        output, epochs=1_000_000, steps=steps, batch_size=1, clip_norm=5.0, precision="bf16",
        workers=1, checkpoint_every=50, keep=2,
    )  # fmt: skip
    return VLScenePreset(VLSceneConfig.nano(), training, loop)


PRESETS: Mapping[str, Callable[[Path], VLScenePreset]] = {"published": published, "nano": nano}


class VLSceneBatch(NamedTuple):
    """Samples side by side; the fields are those of `VLSceneSample`."""

    left: Tensor
    right: Tensor
    geometry: StereoGeometry
    truth: Tensor
    depth_bins: Tensor | None
    points: tuple[PointQueries, ...]
    point_labels: Tensor | None
    teacher: TeacherTargets | None
    class_image: Tensor | None

    def to(self, device: torch.device) -> VLSceneBatch:
        """The same on another device; the calibration stays, its plan is checked on the CPU."""

        def move(value: Any) -> Any:
            if value is None or isinstance(value, StereoGeometry):
                return value
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            moved = (move(part) for part in value)
            return type(value)(*moved) if hasattr(value, "_fields") else tuple(moved)

        return VLSceneBatch(*(move(value) for value in self))


def collate(samples: Sequence[VLSceneSample]) -> VLSceneBatch:
    """A batch; every sample has the same targets, because a label layer is there or is not."""
    first = samples[0]

    def stacked(name: str) -> Tensor | None:
        has_it = getattr(first, name) is not None
        return torch.stack([getattr(s, name) for s in samples]) if has_it else None

    labels = [s.point_labels for s in samples if s.point_labels is not None]
    teachers = [s.teacher for s in samples if s.teacher is not None]
    return VLSceneBatch(
        left=torch.stack([s.left for s in samples]),
        right=torch.stack([s.right for s in samples]),
        geometry=StereoGeometry.cat([s.geometry for s in samples]),
        truth=stacked("truth"),
        depth_bins=stacked("depth_bins"),
        points=tuple(s.points for s in samples if s.points is not None),
        point_labels=torch.cat(labels) if labels else None,
        teacher=TeacherTargets(*map(torch.stack, zip(*teachers, strict=True)))
        if teachers
        else None,
        class_image=stacked("class_image"),
    )


class VLSceneLosses:
    """All terms of the published total.

    Args:
        plan: Makes the part of the network that hangs on the calibration alone.
        teacher: Asked for each batch that does not bring the teacher's answer along.
        voxels: At most so many labelled voxels are classified, 0 = all.
        semantic_weight: Of one term; all others weigh 1.
    """

    def __init__(
        self,
        plan: Callable[[StereoGeometry], ViewPlan],
        teacher: Teacher | None = None,
        voxels: int = 0,
        semantic_weight: float = 1.0,
    ) -> None:
        self._plan = PlanCache(plan, capacity=16)
        self._teacher, self._voxels = teacher, voxels
        self._semantic_weight = semantic_weight
        self._weights = frequency_weights(CLASS_VOXELS)

    def __call__(self, network: nn.Module, batch: VLSceneBatch) -> dict[str, Tensor]:
        """Losses of a batch by name."""
        teacher = self._taught(batch)
        plan = self._plan(batch.geometry)
        known = self._known(batch.truth)
        output = network(batch.left, batch.right, plan, teacher, batch.points, known)
        truth = batch.truth.flatten()[known]
        voxels = row_terms(output.logits, truth, self._weights)._asdict()
        voxels["semantic"] = self._semantic_weight * voxels["semantic"]
        terms = {f"voxel_{name}": value for name, value in voxels.items()}
        return terms | self._image_terms(output, batch, teacher) | self._point_terms(output, batch)

    def _known(self, truth: Tensor) -> Int[Tensor, " n"]:
        """Voxels to classify: two in three have no label, their logits are spared."""
        known = labelled_voxels(truth)
        if not 0 < self._voxels < len(known):
            return known
        return known[torch.randint(len(known), (self._voxels,)).to(known.device)]

    def _taught(self, batch: VLSceneBatch) -> TeacherTargets | None:
        if batch.teacher is not None or self._teacher is None:
            return batch.teacher
        answer = self._teacher(TeacherInput(batch.left, batch.class_image))
        return TeacherTargets(*(t.to(batch.left.device) for t in answer))

    @staticmethod
    def _image_terms(
        output: VLSceneOutput, batch: VLSceneBatch, teacher: TeacherTargets | None
    ) -> dict[str, Tensor]:
        terms = {}
        if batch.depth_bins is not None:
            terms["depth"] = depth_bin_loss(output.depth_prob, batch.depth_bins)
        if teacher is not None and output.distillation is not None:
            terms["feature"] = feature_loss(output.context, output.distillation.fused)
            student = output.distillation.seg_logits
            terms["pixel_label"] = pixel_label_loss(student, teacher.seg_logits)
        return terms

    @staticmethod
    def _point_terms(output: VLSceneOutput, batch: VLSceneBatch) -> dict[str, Tensor]:
        if output.point_logits is None or batch.point_labels is None:
            return {}
        logits, labels = output.point_logits, batch.point_labels
        return {
            "point_cross_entropy": point_cross_entropy(logits, labels),
            "point_lovasz": point_lovasz(logits, labels),
        }


class TrainableVLScene(VLScene):
    """VLScene whose backbone's batch norms learn their statistics: for a start from nothing."""

    def train(self, mode: bool = True) -> TrainableVLScene:
        """Switch everything to training, the backbone's batch norms too."""
        super().train(mode)
        self.backbone.train(mode)
        return self


def build_recipe(
    preset: VLScenePreset,
    bags: Sequence[Any],
    teacher: Teacher | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> Recipe:
    """A recipe for the trainer.

    Args:
        preset: Network, training and loop.
        bags: Drives with their label layers.
        teacher: Runs beside the training; None = label layers, or no teacher.
        validate: Scores of a network, after every epoch.

    Raises:
        OccError: Bags, topics or initial weights cannot be used.
    """
    training, config = preset.training, preset.network
    if not training.topics.voxels:
        raise ConfigError("a training needs a topic with voxel truth: give topics.voxels")
    dataset = VLSceneDataset(bags, config, training.topics, training.fit, preset.loop.seed)
    torch.manual_seed(preset.loop.seed)
    kind = VLScene if training.frozen_backbone_norms else TrainableVLScene
    network = kind(config)
    if training.start:
        load_weights(network, Path(training.start), "vlscene")
    if training.backbone:
        load_weights(network.backbone, Path(training.backbone), "repvit_m2_3")
    schedule: Schedule = training.schedule
    return Recipe(
        network=network,
        optimizer=torch.optim.AdamW(
            network.parameters(), lr=training.rate, weight_decay=training.weight_decay
        ),
        schedule=schedule,
        dataset=dataset,
        collate=collate,
        losses=VLSceneLosses(network.plan, teacher, training.voxels, training.semantic_weight),
        config=plain(training)
        | {
            "network": plain(config),
            "bags": sorted(scene.name for scene in dataset.source.scenes),
            "teacher": teacher.name if teacher else "",
        },
        validate=validate,
        best="miou",
        ema=training.ema,
    )
