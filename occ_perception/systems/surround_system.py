"""What LangOcc and GaussianFlowOcc are as systems: six views, and a history that a jump ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor

from occ_perception.blocks.surround_input import prepare_view
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap, load_label_map
from occ_perception.core.types import CameraFrame, PreparedView
from occ_perception.systems.base import Concern, Context, Needs, Precision
from occ_perception.systems.concerns import NUSCENES_VIEWS_DEG, CameraWatch
from occ_perception.systems.continuity import Continuity
from occ_perception.systems.roles import SURROUND_CAMERAS
from occ_perception.voxels.visibility import VisibilityCache


@runtime_checkable
class SurroundConfig(Protocol):
    """What the configurations of both have in common."""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the network's images, pixels."""
        ...

    @property
    def grid(self) -> GridSpec:
        """Grid of the predicted labels."""
        ...


@runtime_checkable
class History(Protocol):
    """Key frames that are kept."""

    def reset(self) -> None:
        """Forget them."""
        ...


class SurroundSystem:
    """Prepares views, and tells whether a frame set continues the one before.

    Args:
        config: Image size and grid.
        needs: Cameras and so on.
        device: Where the network runs.
        precision: Of the network.
    """

    labels: LabelMap
    _history: History

    def __init__(
        self,
        config: SurroundConfig,
        needs: Needs,
        device: torch.device | str,
        precision: Precision,
    ) -> None:
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.grid = config.grid
        self.labels = load_label_map("occ3d_nuscenes")
        self.needs = needs
        self._input_size = config.input_size
        self._continuity = Continuity()
        self._cameras = CameraWatch(NUSCENES_VIEWS_DEG)
        self._in_view: dict[str, VisibilityCache] = {}

    def preprocess(self, frame: CameraFrame) -> PreparedView:
        """Resize and normalise one image.

        Raises:
            CalibrationError: The image is not rectified.
        """
        self._cameras.see(frame.camera)
        view = prepare_view(frame, self._input_size)
        return replace(view, image=view.image.to(self.device, non_blocking=True))

    def reset(self) -> None:
        """Forget earlier key frames."""
        self._history.reset()
        self._continuity.reset()

    def notes(self) -> Sequence[str]:
        """Rigs and cameras unlike those of the training, and jumps of the pose."""
        notes = [*self._cameras.concerns(), *self._continuity.concerns]
        if self.needs.cameras == SURROUND_CAMERAS:
            return notes
        rig = Concern(
            f"the rig is {', '.join(self.needs.cameras)}; the network was trained with "
            f"{', '.join(SURROUND_CAMERAS)}: expect little where fewer cameras look"
        )
        return [rig, *notes]

    def _begin(self, context: Context) -> None:
        """Forget earlier key frames unless this frame set continues them."""
        if not self._continuity.continues(context):
            self._history.reset()

    def _known(self, views: Sequence[PreparedView]) -> Bool[Tensor, "x y z"]:
        """Voxels inside the image of at least one camera; of the others nothing is said."""
        seen = []
        for camera in (view.camera for view in views):
            cache = self._in_view.setdefault(camera.name, VisibilityCache(self.grid, self.device))
            seen.append(cache(camera))
        return torch.stack(seen).any(dim=0)
