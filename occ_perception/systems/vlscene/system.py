"""VLScene behind the common contract: a rectified stereo pair in, semantic voxels out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from occ_perception.core.camera import Camera
from occ_perception.core.errors import PredictionError
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import CameraFrame, Prediction, PreparedView
from occ_perception.systems.base import Context, Needs, Precision, autocast
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.systems.vlscene.preprocess import FitKind, ImageFit, choose_fit, prepare_view
from occ_perception.systems.vlscene.stereo_pair import pair_geometry
from occ_perception.systems.vlscene.view_transformer import PlanCache
from occ_perception.voxels.visibility import VisibilityCache


class VLSceneSystem:
    """Runs the network on one stereo pair at a time.

    Args:
        config: Sizes of the network and its grid.
        device: Where the network runs.
        precision: Of the convolutions; geometry, softmaxes and the lift stay float32.
        fit: How images are brought to the network's size, see `preprocess`.
    """

    needs = Needs(cameras=("left", "right"), stereo=True)
    offers = ()

    def __init__(
        self,
        config: VLSceneConfig | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        fit: FitKind = "auto",
    ) -> None:
        self.config = config or VLSceneConfig()
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.grid = self.config.grid
        self.labels = load_label_map("semantickitti")
        self.network = VLScene(self.config).to(self.device).eval()
        self._fit_kind: FitKind = fit
        self._fits: dict[str, tuple[Camera, ImageFit]] = {}
        self._plan = PlanCache(self.network.plan)
        self._in_view = VisibilityCache(self.grid, self.device)

    def preprocess(self, frame: CameraFrame) -> PreparedView:
        """Resize and normalise one image.

        Raises:
            CalibrationError: The camera is not rectified or sees almost nothing of the grid.
        """
        view = prepare_view(frame, self._fit_of(frame.camera))
        return replace(view, image=view.image.to(self.device, non_blocking=True))

    def infer(self, views: Sequence[PreparedView], context: Context) -> Prediction:
        """Predict the voxels around one stereo pair.

        Args:
            views: Left and right view.
            context: Stamp of the pair.

        Raises:
            CalibrationError: The views are not a rectified pair.
            PredictionError: The network answered with NaN.
        """
        left, right = views
        plan = self._plan(pair_geometry(left, right))
        with torch.inference_mode(), autocast(self.device, self.precision):
            answer = self.network.predict(left.image[None], right.image[None], plan)
        if not bool(answer.confidence.isfinite().all()):
            raise PredictionError(
                "VLScene answered with NaN; check the weights file, or use precision fp32"
            )
        return Prediction(
            labels=answer.labels[0],
            grid=self.grid,
            stamp_ns=context.stamp_ns,
            confidence=answer.confidence[0],
            known=self._in_view(self.source_camera(left)),
        )

    def reset(self) -> None:
        """Nothing is remembered between pairs."""

    def source_camera(self, view: PreparedView) -> Camera:
        """The camera whose image a view was made from (a view may carry KITTI's in its place)."""
        return self._fits[view.camera.name][0]

    def notes(self) -> Sequence[str]:
        """How the images of each camera are fitted to the network."""
        return [
            f"images of camera '{name}' are fitted by '{fit.kind}' ({fit.reason})"
            for name, (_, fit) in self._fits.items()
        ]

    def _fit_of(self, camera: Camera) -> ImageFit:
        known = self._fits.get(camera.name)
        if known is None or not known[0].equals(camera):
            fit = choose_fit(camera, self._fit_kind, self.config.input_size)
            known = self._fits[camera.name] = (camera, fit)
        return known[1]
