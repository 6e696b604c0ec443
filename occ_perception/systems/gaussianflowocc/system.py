"""GaussianFlowOcc behind the common contract: surround views in, voxels and Gaussians out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import CalibrationError, PredictionError
from occ_perception.core.types import Prediction, PreparedView
from occ_perception.systems.base import Context, Needs, Precision, autocast
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.flow import dynamic_gaussians
from occ_perception.systems.gaussianflowocc.history import GaussianHistory
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc, GaussianScene
from occ_perception.systems.surround_system import SurroundSystem

_KEY_FRAME_S = 0.5  # between two key frames in training


class GaussianFlowOccSystem(SurroundSystem):
    """Runs the network on one frame set at a time.

    Args:
        config: Sizes of the network and its grid.
        device: Where the network runs.
        precision: Of convolutions and attention; positions and voxels stay float32.

    Attributes:
        reach: Voxels around a Gaussian that it is added to (`nbh`); may change at any time.
    """

    offers = ("gaussians",)

    def __init__(
        self,
        config: GaussianFlowOccConfig | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.config = config or GaussianFlowOccConfig()
        present = self.config.rig or self.config.cameras
        needs = Needs(cameras=present, history=1, ego_motion=True)
        super().__init__(self.config, needs, device, precision)
        self._seats = torch.tensor([self.config.cameras.index(name) for name in present])
        self.network = GaussianFlowOcc(self.config).to(self.device).eval()
        self.reach = self.config.reach
        self._history = GaussianHistory(self.network)

    def infer(self, views: Sequence[PreparedView], context: Context) -> Prediction:
        """Predict the voxels around the vehicle.

        Args:
            views: One per camera, in the order of `needs.cameras`.
            context: Stamp and vehicle pose; without a pose every frame stands alone.

        Raises:
            CalibrationError: There are more or fewer views than the rig has cameras.
            PredictionError: The network answered with NaN.
        """
        self._check_count(views)
        self._begin(context)
        images = self._seated(torch.stack([view.image for view in views])[None])
        pose = np.eye(4) if context.T_world_base is None else context.T_world_base
        with torch.inference_mode():
            plan = self.network.plan(*self._calibration(views)).to(self.device)
            plan = replace(plan, maps=self._seated(plan.maps), shift=self._seated(plan.shift))
            with autocast(self.device, self.precision):
                scene = self._history.step(images, plan, pose)
            gaussians = scene.gaussians[0]
            if not bool(gaussians.means.isfinite().all()):
                self.reset()
                raise PredictionError(
                    "GaussianFlowOcc answered with NaN; check the weights file, or use "
                    "precision fp32"
                )
            voxels = self.network.voxels(gaussians, self.reach)
            free = voxels.free(self.config.free_below)
            extras = gaussians._asdict()
            if "gaussians" in context.wanted:
                extras["flow"] = self._velocity(scene)
        return Prediction(
            labels=torch.where(free, self.labels.free_id, voxels.classes),
            grid=self.grid,
            stamp_ns=context.stamp_ns,
            confidence=torch.where(free, 1 - voxels.density, voxels.density),
            known=self._known(views),
            extras=extras,
        )

    def _seated(self, parts: Float[Tensor, "1 n ..."]) -> Float[Tensor, "1 m ..."]:
        """One entry per camera of the training; the zeros of a missing one see nothing."""
        if len(self._seats) == len(self.config.cameras):
            return parts
        whole = parts.new_zeros(1, len(self.config.cameras), *parts.shape[2:])
        return whole.index_copy_(1, self._seats.to(parts.device), parts)

    def _velocity(self, scene: GaussianScene) -> Float[Tensor, "g 3"]:
        """Motion of every Gaussian in the vehicle's frame, m/s; zero where its class stands."""
        network, config = self.network, self.config
        next_step = torch.tensor([config.horizon + 1], device=self.device)
        displacement = network.flow(scene.features, next_step)[0, :, 0].float()
        moves = dynamic_gaussians(scene.gaussians.logits, config.dynamic_ids)[0]
        return torch.where(moves[:, None], displacement / _KEY_FRAME_S, 0.0)

    def _check_count(self, views: Sequence[PreparedView]) -> None:
        if len(views) != len(self.needs.cameras):
            raise CalibrationError(
                f"{len(views)} views were given, the rig has {len(self.needs.cameras)} "
                f"cameras: {', '.join(self.needs.cameras)}"
            )

    @staticmethod
    def _calibration(
        views: Sequence[PreparedView],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Poses, intrinsics and image fits as `[1, N, ...]`, float64 on the CPU."""
        parts = (
            [view.camera.T_base_cam for view in views],
            [view.camera.K for view in views],
            [view.image_transform for view in views],
        )
        poses, K, fits = (torch.from_numpy(np.stack(part))[None] for part in parts)
        return poses, K, fits
