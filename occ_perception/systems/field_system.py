"""What ViPOcc and SceneDINO are as systems: one image in, a field, voxels of any grid out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occ_perception.blocks.fields.config import FieldConfig
from occ_perception.blocks.fields.fixed_points import (
    SeenPoints,
    Sight,
    fix_seen_points,
    fixed_density,
    pixel_table,
)
from occ_perception.blocks.fields.pixel_field import PixelField
from occ_perception.blocks.fields.prepare import FitKind, MonoFit, choose_fit, view_intrinsics
from occ_perception.core.camera import Camera
from occ_perception.core.errors import CalibrationError, PredictionError
from occ_perception.core.labels import LabelMap
from occ_perception.core.types import CameraFrame, Prediction, PreparedView
from occ_perception.geometry.transforms import inverse
from occ_perception.systems.base import Context, Needs, Precision, autocast
from occ_perception.systems.concerns import field_of_view_concerns
from occ_perception.systems.field_pictures import (
    PictureRays,
    RenderedPicture,
    picture_rays,
    render_picture,
)

_KEPT = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Decision(NamedTuple):
    """Labels of the voxels that the camera sees.

    Attributes:
        labels: Class ids.
        density: What they were decided by, 1/m.
    """

    labels: UInt8[Tensor, " v"]
    density: Float[Tensor, " v"]


@dataclass(eq=False)
class _Calibrated:
    """What was prepared for a calibration and the weights of the time.

    Attributes:
        camera: The camera.
        image_transform: Its pixels to those of the network's image.
        weights: State of the field's first layer.
        voxels: The grid's centres inside the image.
        known: `[X, Y, Z]` the same as a mask.
        rays: Of the depth picture, once it was asked for.
    """

    camera: Camera
    image_transform: npt.NDArray[np.float64]
    weights: tuple[int, int]
    voxels: SeenPoints
    known: Tensor
    rays: PictureRays | None = None

    def fits(self, view: PreparedView, weights: tuple[int, int]) -> bool:
        """Whether it is still right."""
        same_image = np.array_equal(self.image_transform, view.image_transform)
        return self.weights == weights and same_image and self.camera.equals(view.camera)


class FieldSystem(ABC):
    """Runs a field on one image at a time; voxels outside the image are unknown.

    Args:
        config: Sizes, range and grid.
        device: Where the network runs.
        precision: Of network and field; projection and compositing stay float32.
        fit: How images are brought to the network's size.
    """

    needs = Needs(cameras=("camera",))
    offers: tuple[str, ...]
    labels: LabelMap
    network: nn.Module

    def __init__(
        self,
        config: FieldConfig | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        fit: FitKind = "auto",
    ) -> None:
        self.device = torch.device(device)
        self.config, self.network = self.build(config)
        self.network.to(self.device).eval()
        self.precision: Precision = precision
        self.grid = self.config.grid
        self._fit_kind: FitKind = fit
        self._fits: dict[str, tuple[Camera, MonoFit]] = {}
        self._last: _Calibrated | None = None

    @abstractmethod
    def build(self, config: FieldConfig | None) -> tuple[FieldConfig, nn.Module]:
        """The network of a configuration, None = the published one."""

    @property
    @abstractmethod
    def field(self) -> PixelField:
        """The field."""

    @abstractmethod
    def encode(self, image: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 hidden h2 w2"]:
        """Hidden map of an image -1..1."""

    @abstractmethod
    def decide(
        self, table: Float[Tensor, "p hidden"], voxels: SeenPoints, density: Float[Tensor, " v"]
    ) -> Decision:
        """Labels of the voxels that the camera sees."""

    @abstractmethod
    def pictures(
        self, picture: RenderedPicture, rays: PictureRays, wanted: frozenset[str]
    ) -> dict[str, Tensor]:
        """Wanted extras beside the depth, from rendered rays."""

    @abstractmethod
    def reset(self) -> None:
        """Forget what was remembered between images."""

    def preprocess(self, frame: CameraFrame) -> PreparedView:
        """Resize one image.

        Raises:
            CalibrationError: The image is not rectified.
        """
        view = self._fit_of(frame.camera).prepare(frame)
        return replace(view, image=view.image.to(self.device, non_blocking=True))

    def infer(self, views: Sequence[PreparedView], context: Context) -> Prediction:
        """Predict the voxels in front of the camera.

        Args:
            views: One view.
            context: Stamp and wanted extras.

        Raises:
            CalibrationError: The camera sees nothing of the grid.
            PredictionError: The field answered with NaN.
        """
        (view,) = views
        with torch.inference_mode(), autocast(self.device, self.precision):
            calibrated = self._calibrated(view)
            voxels = calibrated.voxels
            table = pixel_table(self.encode(view.image[None]))
            density = self._checked(fixed_density(self.field, table, voxels.points))
            decision = self.decide(table, voxels, density)
            extras = self._rendered(view, calibrated, table, context.wanted)
        labels = voxels.scatter(decision.labels, self.labels.unknown_id)
        return Prediction(
            labels=labels.view(self.grid.shape),
            grid=self.grid,
            stamp_ns=context.stamp_ns,
            confidence=voxels.scatter(self._confidence(decision), 0.0).view(self.grid.shape),
            known=calibrated.known,
            extras=extras,
        )

    def notes(self) -> Sequence[str]:
        """How the images of each camera are fitted to the network, and unusual ones."""
        notes: list[str] = []
        for name, (camera, fit) in self._fits.items():
            notes.append(f"images of camera '{name}' are fitted by '{fit.kind}' ({fit.reason})")
            notes += field_of_view_concerns(camera, [self.config.trained_view_deg])
        return notes

    def _fit_of(self, camera: Camera) -> MonoFit:
        known = self._fits.get(camera.name)
        if known is None or not known[0].equals(camera):
            fit = choose_fit(camera, self.config.input_size, self._fit_kind)
            known = self._fits[camera.name] = (camera, fit)
        return known[1]

    def _calibrated(self, view: PreparedView) -> _Calibrated:
        weight = self.field.lin_in.weight
        weights = (weight.data_ptr(), weight._version)
        if self._last is None or not self._last.fits(view, weights):
            with torch.autocast(self.device.type, enabled=False):
                voxels, known = self._seen_voxels(view)
            self._last = _Calibrated(view.camera, view.image_transform, weights, voxels, known)
        return self._last

    def _seen_voxels(self, view: PreparedView) -> tuple[SeenPoints, Tensor]:
        T = torch.from_numpy(inverse(view.camera.T_base_cam)).float().to(self.device)
        K = view_intrinsics(view).to(self.device)
        centres = self.grid.centers(self.device).flatten(0, 2)
        sight = Sight(T, K, self.config.map_size, _KEPT[self.precision])
        voxels = fix_seen_points(self.field, centres, sight)
        if not len(voxels.index):
            raise CalibrationError(
                f"camera '{view.camera.name}' sees no voxel of the grid in frame "
                f"'{self.grid.frame_id}'; check its extrinsics and the grid's extent"
            )
        known = torch.zeros(self.grid.count, dtype=torch.bool, device=self.device)
        return voxels, known.index_fill_(0, voxels.index, True).view(self.grid.shape)

    def _checked(self, density: Tensor) -> Tensor:
        if not bool(density.isfinite().all()):
            raise PredictionError(
                f"the field of {type(self.network).__name__} answered with NaN; check the weights "
                "file, or use precision fp32"
            )
        return density

    def _confidence(self, decision: Decision) -> Float[Tensor, " v"]:
        """Opacity along the way on which the deciding density is half opaque, or what it lacks."""
        clear = torch.exp2(-decision.density / self.config.occupied_density)
        return torch.where(decision.labels == self.labels.free_id, clear, 1 - clear)

    def _rendered(
        self, view: PreparedView, calibrated: _Calibrated, table: Tensor, wanted: frozenset[str]
    ) -> dict[str, Tensor]:
        if not wanted & set(self.offers):
            return {}
        if calibrated.rays is None:
            calibrated.rays = self._picture_rays(view)
        picture = render_picture(self.field, table, calibrated.rays)
        extras = {"depth": picture.depth_m} if "depth" in wanted else {}
        return extras | self.pictures(picture, calibrated.rays, wanted)

    def _picture_rays(self, view: PreparedView) -> PictureRays:
        with torch.autocast(self.device.type, enabled=False):
            return picture_rays(self.field, view, self.config, _KEPT[self.precision])
