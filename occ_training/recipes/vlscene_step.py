"""One step of VLScene's training: samples to a batch, a batch to the terms of the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.model import PointQueries, VLSceneOutput
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.view_transformer import PlanCache, ViewOutput, ViewPlan
from occ_training.data.moving import moved
from occ_training.data.semantickitti_labels import CLASS_VOXELS
from occ_training.labels.teacher import Teacher, TeacherInput
from occ_training.losses.distill import depth_bin_loss, feature_loss, pixel_label_loss
from occ_training.losses.ssc import (
    frequency_weights,
    labelled_voxels,
    occupied_overlap_loss,
    point_cross_entropy,
    point_lovasz,
    row_terms,
)
from occ_training.recipes.vlscene_data import VLSceneSample

Stage = Literal["all", "images", "voxels"]


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
        return moved(self, device, but=("geometry",))


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


@dataclass(frozen=True)
class LossOptions:
    """Which terms count how much.

    Attributes:
        stage: "images": depth and teacher alone, no voxels are computed; "voxels": voxels and
            points alone; "all": everything, as published.
        semantic_weight: Of the affinity loss of classes, 1 as published. It asks for every class
            that a scene has, however few its voxels; a short training calls much of the air cars.
        overlap_weight: Of the loss on the IoU of what is occupied, 0 as published.
        branch_weight: Of the depth loss on each of the two distributions before they are fused, 0
            as published.
        voxels: At most so many labelled voxels are classified per step, drawn anew; 0 = all.
    """

    stage: Stage = "all"
    semantic_weight: float = 1.0
    overlap_weight: float = 0.0
    branch_weight: float = 0.0
    voxels: int = 0


class VLSceneLosses:
    """All terms of the published total, or those of a stage.

    Args:
        plan: Makes the part of the network that hangs on the calibration alone.
        teacher: Asked for each batch that does not bring the teacher's answer along.
        options: Which terms count how much.
    """

    def __init__(
        self,
        plan: Callable[[StereoGeometry], ViewPlan],
        teacher: Teacher | None = None,
        options: LossOptions | None = None,
    ) -> None:
        self._plan = PlanCache(plan, capacity=64)
        self._teacher, self._options = teacher, options or LossOptions()
        self._weights = frequency_weights(CLASS_VOXELS)

    def __call__(self, network: nn.Module, batch: VLSceneBatch) -> dict[str, Tensor]:
        """Losses of a batch by name."""
        stage, plan = self._options.stage, self._plan(batch.geometry)
        images = (batch.left, batch.right, plan)
        teacher = None if stage == "voxels" else self._taught(batch)
        if stage == "images":
            return self._image_terms(
                network(*images, teacher, only_images=True).view, batch, teacher
            )
        known = self._known(batch.truth)
        output = network(*images, teacher, batch.points, known)
        voxels = self._voxel_terms(output, batch.truth.flatten()[known])
        terms = voxels | self._point_terms(output, batch)
        return (
            terms if stage == "voxels" else terms | self._image_terms(output.view, batch, teacher)
        )

    def _known(self, truth: Tensor) -> Int[Tensor, " n"]:
        """Voxels to classify: two in three have no label, their logits are spared."""
        known, most = labelled_voxels(truth), self._options.voxels
        if not 0 < most < len(known):
            return known
        return known[torch.randint(len(known), (most,)).to(known.device)]

    def _taught(self, batch: VLSceneBatch) -> TeacherTargets | None:
        if batch.teacher is not None or self._teacher is None:
            return batch.teacher
        answer = self._teacher(TeacherInput(batch.left, batch.class_image))
        return TeacherTargets(*(t.to(batch.left.device) for t in answer))

    def _voxel_terms(self, output: VLSceneOutput, truth: Tensor) -> dict[str, Tensor]:
        terms = row_terms(output.logits, truth, self._weights)._asdict()
        terms["semantic"] = self._options.semantic_weight * terms["semantic"]
        if weight := self._options.overlap_weight:
            terms["overlap"] = weight * occupied_overlap_loss(output.logits, truth)
        return {f"voxel_{name}": value for name, value in terms.items()}

    def _image_terms(
        self, view: ViewOutput, batch: VLSceneBatch, teacher: TeacherTargets | None
    ) -> dict[str, Tensor]:
        terms, weight = {}, self._options.branch_weight
        if batch.depth_bins is not None:
            terms["depth"] = depth_bin_loss(view.depth_prob, batch.depth_bins)
            if weight:
                branches = zip(("stereo", "mono"), view.branch_probs, strict=True)
                terms |= {
                    f"depth_{name}": weight * depth_bin_loss(prob, batch.depth_bins)
                    for name, prob in branches
                }
        if teacher is not None and view.distillation is not None:
            terms["feature"] = feature_loss(view.context, view.distillation.fused)
            student = view.distillation.seg_logits
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
