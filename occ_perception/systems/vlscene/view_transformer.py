"""From the features of two views to one voxel volume."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.lift.depth_net import DepthNet
from occ_perception.blocks.lift.lss import depth_bins, image_frustum, unproject_frustum
from occ_perception.blocks.lift.stereo import (
    StereoNet,
    disparity_to_depth,
    true_disparity_to_depth,
)
from occ_perception.blocks.lift.voxel_pool import PoolPlan, plan_pool, pool_voxels
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.distillation import (
    Distillation,
    DistillationOutput,
    TeacherTargets,
)
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.volume_interaction import VolumeInteraction


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """Everything in the view transformer that depends on the calibration alone.

    Attributes:
        camera_left: `[B, 30]` camera vector of the left view.
        camera_right: `[B, 30]` camera vector of the right view.
        to_depth: `[B, D, D]` disparity -> depth resampling.
        pool: Which pixel and depth bin belongs to which voxel.
        share: `[B, X, Y, Z]` depth bins over the number of those, so that a mean is 1 where every
            bin is equally likely; None = sums are lifted.
    """

    camera_left: Float[Tensor, "b 30"]
    camera_right: Float[Tensor, "b 30"]
    to_depth: Float[Tensor, "b d d"]
    pool: PoolPlan
    share: Float[Tensor, "b x y z"] | None = None

    def to(self, device: torch.device | str) -> ViewPlan:
        """The same plan on another device."""
        vectors = (t.to(device) for t in (self.camera_left, self.camera_right, self.to_depth))
        share = None if self.share is None else self.share.to(device)
        return type(self)(*vectors, self.pool.to(device), share)


class PlanCache:
    """Keeps the plans of the calibrations used last; whoever runs the model owns one.

    Args:
        build: Makes a plan, e.g. `VLScene.plan`.
        capacity: How many calibrations to remember.
    """

    def __init__(self, build: Callable[[StereoGeometry], ViewPlan], capacity: int = 2) -> None:
        self._build = build
        self._capacity = capacity
        self._plans: OrderedDict[tuple[str, bytes], ViewPlan] = OrderedDict()

    def __call__(self, geometry: StereoGeometry) -> ViewPlan:
        """The plan of this calibration, built only if it is not remembered."""
        numbers = torch.cat([tensor.double().flatten() for tensor in geometry])
        key = (str(numbers.device), numbers.cpu().numpy().tobytes())
        plan = self._plans.pop(key, None) or self._build(geometry)
        self._plans[key] = plan
        if len(self._plans) > self._capacity:
            self._plans.popitem(last=False)
        return plan


class ViewOutput(NamedTuple):
    """What leaves the view transformer.

    Attributes:
        volume: `[B, C, X, Y, Z]` lifted features.
        depth_prob: `[B, D, H, W]` probability of the depth bins in the left view.
        branch_probs: The two that it was fused from: of both views, of the left one alone.
        context: `[B, C, H, W]` features that were lifted.
        distillation: Outputs for the distillation losses, None without a teacher.
    """

    volume: Float[Tensor, "b c x y z"]
    depth_prob: Float[Tensor, "b d h w"]
    branch_probs: tuple[Float[Tensor, "b d h w"], Float[Tensor, "b d h w"]]
    context: Float[Tensor, "b c h w"]
    distillation: DistillationOutput | None


class ViewTransformer(nn.Module):
    """Depth from one view and from both, their interaction, lift and splat."""

    def __init__(self, config: VLSceneConfig) -> None:
        super().__init__()
        channels = config.neck_channels
        self.grid, self.stride = config.lift_grid, config.stride
        self.published_slips, self.mean_lift = config.published_slips, config.mean_lift
        self.depth_net = DepthNet(channels, channels, config.context_channels, config.bins)
        self.stereo_net = StereoNet(channels, channels, config.match_channels, config.stereo_groups)
        self.volume_interaction = VolumeInteraction(
            config.interaction_channels, config.published_slips
        )
        self.distillation = Distillation(
            config.context_channels, config.teacher_channels, config.teacher_classes
        )
        depths = depth_bins(config.depth_min_m, config.depth_max_m, config.depth_step_m)
        frustum = image_frustum(config.input_size, config.map_size, depths)
        self.register_buffer("frustum", frustum, persistent=False)

    def points(self, geometry: StereoGeometry) -> Float[Tensor, "b 1 d h w 3"]:
        """Every depth bin of every feature pixel in the grid's frame, metres."""
        return unproject_frustum(
            self.frustum,
            geometry.intrins_left,
            geometry.rots,
            geometry.trans,
            geometry.post_rots,
            geometry.post_trans,
            geometry.bda,
        )

    @torch.no_grad()
    def plan(self, geometry: StereoGeometry) -> ViewPlan:
        """Work out what depends on the calibration alone.

        Args:
            geometry: Calibration; kept on the CPU it is checked without waiting for a GPU.

        Raises:
            CalibrationError: The calibration cannot be used.
        """
        geometry.check()
        geometry = geometry.to(self.frustum.device)
        cameras = geometry.camera_vectors()
        if not self.published_slips:
            cameras = tuple(F.group_norm(vector, 2) for vector in cameras)
        pool = plan_pool(self.points(geometry), self.grid)
        share = self.frustum.shape[0] / pool.bounds.diff().clamp(min=1).view(-1, *pool.shape)
        return ViewPlan(*cameras, self._to_depth(geometry), pool, share if self.mean_lift else None)

    def _to_depth(self, geometry: StereoGeometry) -> Float[Tensor, "b d d"]:
        depths = self.frustum[:, 0, 0, 2]
        if self.published_slips:
            return disparity_to_depth(geometry.calib, len(depths))
        scale = geometry.post_rots[:, :, 0, 0] / self.stride
        return true_disparity_to_depth(geometry.calib, scale, depths)

    def forward(
        self,
        left: Float[Tensor, "b c h w"],
        right: Float[Tensor, "b c h w"],
        plan: ViewPlan,
        teacher: TeacherTargets | None = None,
    ) -> ViewOutput:
        """Lift the left view's features with depth from both views.

        Args:
            left: Image features of the left view.
            right: Image features of the right view.
            plan: From `plan` for this batch's calibrations.
            teacher: The teacher's outputs for the left view, training only.
        """
        depth_logits, context = self.depth_net(left, plan.camera_left)
        stereo_prob = self.stereo_net(
            left, right, plan.camera_left, plan.camera_right, plan.to_depth
        )
        mono_prob = depth_logits.float().softmax(dim=1)
        depth_prob = self.volume_interaction(stereo_prob, mono_prob)
        volume = pool_voxels(depth_prob[:, None], context[:, None], plan.pool)
        if plan.share is not None:
            volume = volume * plan.share[:, None]
        distillation = None if teacher is None else self.distillation(context, teacher)
        return ViewOutput(volume, depth_prob, (stereo_prob, mono_prob), context, distillation)
