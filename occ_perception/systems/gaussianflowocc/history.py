"""GaussianFlowOcc over a stream of key frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.attention.deformable import ProjectionPlan
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc, GaussianScene

Pose = npt.NDArray[np.float64]


class GaussianHistory:
    """Carries the Gaussians of one key frame to the next, about half a second later.

    Args:
        network: In eval mode.
    """

    def __init__(self, network: GaussianFlowOcc) -> None:
        self._network = network
        self._last: tuple[GaussianScene, Pose] | None = None

    def reset(self) -> None:
        """Forget everything; the next key frame is taken for the first of a scene."""
        self._last = None

    @torch.no_grad()
    def step(
        self, images: Float[Tensor, "1 n 3 h w"], plan: ProjectionPlan, T_world_ego: Pose
    ) -> GaussianScene:
        """Gaussians at a new key frame.

        Args:
            images: Normalised images at the network's size.
            plan: Their cameras.
            T_world_ego: `[4, 4]` pose of the vehicle in a fixed frame, metres.
        """
        if self._last is None:
            scene = self._network.begin(images, plan)
        else:
            before, T_world_before = self._last
            # Composed in double precision: map coordinates are kilometres.
            motion = torch.from_numpy(np.linalg.inv(T_world_ego) @ T_world_before)[None]
            memory = before.memory.carried(motion.to(images))
            scene = self._network(images, plan, memory)
        self._last = scene, T_world_ego
        return scene
