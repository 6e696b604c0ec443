"""ViPOcc and BTS behind the common contract: one image in, occupancy out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.fields.fixed_points import SeenPoints
from occ_perception.blocks.fields.pixel_field import PixelField
from occ_perception.core.errors import ConfigError, ImageError, PredictionError
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import Prediction, PreparedView
from occ_perception.systems.base import Concern, Context, autocast
from occ_perception.systems.field_pictures import PictureRays, RenderedPicture, picture_pixels
from occ_perception.systems.field_system import Decision, FieldSystem
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc


class ViPOccSystem(FieldSystem):
    """Runs the density field, and the depth branch where a pseudo depth is at hand."""

    config: ViPOccConfig
    network: ViPOcc
    _prior: nn.Module | None = None

    def build(self, config: ViPOccConfig | None) -> tuple[ViPOccConfig, ViPOcc]:
        """The networks of a configuration."""
        config = config or ViPOccConfig()
        self.labels = load_label_map("occupancy")
        self.offers = ("depth", "predicted_depth") if config.depth_branch else ("depth",)
        return config, ViPOcc(config)

    @property
    def field(self) -> PixelField:
        """The density field."""
        return self.network.density_net.field

    def attach_prior(self, prior: nn.Module) -> None:
        """Let the depth branch correct this network's depth from now on.

        Args:
            prior: RGB `[1, 3, h, w]` 0..1 of the network's size to metres `[1, 1, h, w]`, e.g.
                `DepthPrior` or `PretrainedPrior` of `blocks.depth_prior`.

        Raises:
            ConfigError: This configuration has no depth branch.
        """
        if self.network.depth_net is None:
            raise ConfigError("BTS has no depth branch that could use a depth prior; leave it out")
        self._prior = prior.to(self.device).eval()

    def encode(self, image: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 hidden h2 w2"]:
        """Hidden map of an image -1..1."""
        return self.network.density_net.encode(image)

    def decide(
        self, table: Float[Tensor, "p hidden"], voxels: SeenPoints, density: Float[Tensor, " v"]
    ) -> Decision:
        """Occupied where the bare density says so (published evaluation)."""
        return Decision((density > self.config.occupied_density).to(torch.uint8), density)

    def pictures(
        self, picture: RenderedPicture, rays: PictureRays, wanted: frozenset[str]
    ) -> dict[str, Tensor]:
        """None: the predicted depth is not rendered."""
        return {}

    def infer(
        self,
        views: Sequence[PreparedView],
        context: Context,
        pseudo_depth_m: Float[Tensor, "h w"] | None = None,
    ) -> Prediction:
        """Predict the voxels in front of the camera.

        Args:
            views: One view.
            context: Stamp and wanted extras.
            pseudo_depth_m: Metric depth of the camera's image instead of the prior's.

        Raises:
            CalibrationError: The camera sees nothing of the grid.
            ImageError: The pseudo depth has another size than the image, or holes.
            PredictionError: The field or the depth prior answered with NaN, or the prior with
                another size than the image's.
        """
        prediction = super().infer(views, context)
        (view,) = views
        has_pseudo = pseudo_depth_m is not None or self._prior is not None
        if "predicted_depth" not in context.wanted & set(self.offers) or not has_pseudo:
            return prediction
        depth = self._predicted_depth(view, pseudo_depth_m)
        return replace(prediction, extras={**prediction.extras, "predicted_depth": depth})

    def reset(self) -> None:
        """Nothing is remembered between images."""

    def notes(self) -> Sequence[str]:
        """How images are fitted, and whether the depth branch runs."""
        if self.network.depth_net is None or self._prior is not None:
            return super().notes()
        missing = Concern(
            "the depth branch does not run: it corrects the depth of Depth Anything V2, whose "
            "weights were not given; occupancy and rendered depth need neither"
        )
        return [*super().notes(), missing]

    def _predicted_depth(
        self, view: PreparedView, pseudo_depth_m: Tensor | None
    ) -> Float[Tensor, "h w"]:
        image = view.image[None]
        with torch.inference_mode(), autocast(self.device, self.precision):
            if pseudo_depth_m is None:
                pseudo = self._asked_prior(image)
            else:
                pseudo = fit_depth(pseudo_depth_m.to(self.device), view)[None, None]
            depth = self.network.depth_net(image, pseudo.float())[0, 0].float()
        # Where the residual overshoots, the inverse depth is negative: beyond everything.
        far_m = self.config.far_m
        depth = torch.where(depth > 0, depth, far_m).clamp(max=far_m)
        return picture_pixels(view, self.config.input_size).nearest(depth, float("nan"))

    def _asked_prior(self, image: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 1 h w"]:
        pseudo = self._prior(image * 0.5 + 0.5)
        if pseudo.shape != (1, 1, *image.shape[-2:]):
            raise PredictionError(
                f"the depth prior answered with {tuple(pseudo.shape)} for an image of "
                f"{image.shape[-1]}x{image.shape[-2]} pixels; give a prior for this image size"
            )
        if not bool(pseudo.isfinite().all()):
            raise PredictionError(
                "the depth prior answered with NaN; check its weights, or use precision fp32"
            )
        return pseudo


def fit_depth(depth_m: Float[Tensor, "h w"], view: PreparedView) -> Float[Tensor, "h2 w2"]:
    """Depth of a camera's image at the pixels of the network's, nearest.

    Args:
        depth_m: Depth along the optical axis per pixel of the camera's image.
        view: The image as the network gets it.

    Raises:
        ImageError: The depth is of another size than the image, or has holes.
    """
    camera = view.camera
    if tuple(depth_m.shape) != (camera.height, camera.width):
        raise ImageError(
            f"pseudo depth is {depth_m.shape[1]}x{depth_m.shape[0]}, the image of camera "
            f"'{camera.name}' {camera.width}x{camera.height}; give the depth of the same image"
        )
    holes = ~(depth_m.isfinite() & (depth_m > 0))
    if holes.any():
        raise ImageError(
            f"pseudo depth of camera '{camera.name}' has {int(holes.sum())} pixels without a "
            "depth; the branch wants one everywhere (a network's depth, not a sensor's)"
        )
    height, width = view.image.shape[-2:]
    scale_x, scale_y = view.image_transform[0, 0], view.image_transform[1, 1]
    left, top = -view.image_transform[0, 2], -view.image_transform[1, 2]
    x = ((torch.arange(width) + 0.5 + left) / scale_x).long().clamp(0, camera.width - 1)
    y = ((torch.arange(height) + 0.5 + top) / scale_y).long().clamp(0, camera.height - 1)
    return depth_m[y.to(depth_m.device)][:, x.to(depth_m.device)]
