"""VLScene's network (Wang et al., AAAI 2025): two rectified images to semantic voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from occ_perception.blocks.backbones import build_backbone, feature_channels
from occ_perception.blocks.necks.fpn import FPN
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.gssa import SparseUNet
from occ_perception.systems.vlscene.head import OccupancyHead, PointHead
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.view_transformer import ViewOutput, ViewPlan, ViewTransformer


class PointQueries(NamedTuple):
    """LiDAR points of one sample, training only.

    Attributes:
        points: `[N, 3]` metres in the grid's frame.
        uvd: `[N, 3]` image position in -1..1 (x, y) and depth in metres.
    """

    points: Float[Tensor, "n 3"]
    uvd: Float[Tensor, "n 3"]


class VLScenePrediction(NamedTuple):
    """The answer at inference.

    Attributes:
        labels: `[B, X, Y, Z]` uint8 classes on `config.grid`, 0 = empty.
        confidence: `[B, X, Y, Z]` probability of the label.
        depth_prob: `[B, D, H, W]` probability of the depth bins in the left view.
    """

    labels: UInt8[Tensor, "b x y z"]
    confidence: Float[Tensor, "b x y z"]
    depth_prob: Float[Tensor, "b d h w"]


class VLSceneOutput(NamedTuple):
    """What losses need.

    Attributes:
        view: Depth, features and distillation of the images.
        logits: `[B, classes, X, Y, Z]` on `config.grid`, or `[N, classes]` of the voxels that were
            asked for; class 0 = empty; None if only the images were wanted.
        point_logits: `[P, classes]` of all samples' points in order, None without points.
    """

    view: ViewOutput
    logits: Float[Tensor, "b k x y z"] | Float[Tensor, "n k"] | None
    point_logits: Float[Tensor, "p k"] | None


class VLScene(nn.Module):
    """The network of the paper's overview figure.

    Args:
        config: Sizes; the default is the published model.
    """

    def __init__(self, config: VLSceneConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(
            config.backbone, (1, 2, 3), config.backbone_widths, config.backbone_depths
        )
        # Only the finest level is used; checkpoints hold the other ones as well.
        self.neck = FPN(feature_channels(self.backbone), config.neck_channels, extra_levels=1)
        self.view_transformer = ViewTransformer(config)
        self.sparse_unet = SparseUNet(config.context_channels, config.sparse_channels)
        scene_channels = self.sparse_unet.out_channels
        self.head = OccupancyHead(
            scene_channels,
            config.classes,
            config.head_channels,
            config.upsample,
            config.published_slips,
        )
        self.point_head = PointHead(
            scene_channels,
            config.neck_channels,
            config.classes,
            config.grid.origin_m,
            config.grid.upper_m,
            config.published_slips,
        )

    def train(self, mode: bool = True) -> VLScene:
        """Switch everything to training but the backbone's frozen batch statistics."""
        super().train(mode)
        self.backbone.eval()
        return self

    def plan(self, geometry: StereoGeometry) -> ViewPlan:
        """What depends on the calibration alone; worth keeping while it does not change.

        Raises:
            CalibrationError: The calibration cannot be used.
        """
        return self.view_transformer.plan(geometry)

    def image_features(
        self, left: Float[Tensor, "b 3 h w"], right: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c mh mw"], Float[Tensor, "b c mh mw"]]:
        """Feature maps of the left and of the right view."""
        maps = self.backbone(torch.cat([left, right]))
        left_map, right_map = self.neck(maps, levels=1)[0].chunk(2)
        return left_map, right_map

    def forward(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        geometry: StereoGeometry | ViewPlan,
        teacher: TeacherTargets | None = None,
        points: Sequence[PointQueries] = (),
        voxels: Int[Tensor, " n"] | None = None,
        only_images: bool = False,
    ) -> VLSceneOutput:
        """Logits, and what else the losses need.

        Args:
            left: Normalised left images at the network's size.
            right: Normalised right images.
            geometry: Calibrations, or their `plan`.
            teacher: The teacher's outputs for the left images, training only.
            points: LiDAR points per sample, training only.
            voxels: Positions in the flattened `[B, X, Y, Z]` whose logits are wanted; None = all.
            only_images: Leave the voxels out.
        """
        left_map, right_map = self.image_features(left, right)
        view = self.view_transformer(left_map, right_map, self._planned(geometry), teacher)
        if only_images:
            return VLSceneOutput(view, None, None)
        scene = self.sparse_unet(view.volume)
        features = self.head(scene)
        logits = (
            self.head.logits(features) if voxels is None else self.head.logits_at(features, voxels)
        )
        point_logits = self._classify(points, scene, left_map) if points else None
        return VLSceneOutput(view, logits, point_logits)

    @torch.no_grad()
    def predict(
        self,
        left: Float[Tensor, "b 3 h w"],
        right: Float[Tensor, "b 3 h w"],
        geometry: StereoGeometry | ViewPlan,
    ) -> VLScenePrediction:
        """Labels and their probability; the logits never exist all at once.

        Args:
            left: Normalised left images at the network's size.
            right: Normalised right images.
            geometry: Calibrations, or their `plan`.
        """
        view = self.view_transformer(*self.image_features(left, right), self._planned(geometry))
        labels, confidence = self.head.predict(self.head(self.sparse_unet(view.volume)))
        return VLScenePrediction(labels, confidence, view.depth_prob)

    def _planned(self, geometry: StereoGeometry | ViewPlan) -> ViewPlan:
        return geometry if isinstance(geometry, ViewPlan) else self.plan(geometry)

    def _classify(
        self, points: Sequence[PointQueries], scene: Tensor, image: Tensor
    ) -> Float[Tensor, "p k"]:
        samples = zip(scene, image, points, strict=True)
        return torch.cat([self.point_head(s, i, p.points, p.uvd) for s, i, p in samples])
