"""SceneDINO behind the common contract: one image in, classes without a label ever seen out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from occ_perception.blocks.fields.fixed_points import SeenPoints, fixed_activations, pixel_table
from occ_perception.blocks.fields.pixel_field import PixelField
from occ_perception.core.labels import LabelMap
from occ_perception.core.types import Prediction, PreparedView
from occ_perception.systems.base import NOT_SEEN, PIXEL_CLASSES, Concern, Context, autocast
from occ_perception.systems.field_pictures import (
    PicturePixels,
    PictureRays,
    RenderedPicture,
    picture_pixels,
    rays_of,
    render_picture,
)
from occ_perception.systems.field_system import Decision, FieldSystem
from occ_perception.systems.scenedino.classes import VoxelClasses, voxel_classes
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.feature_picture import LatentColours
from occ_perception.systems.scenedino.folded_head import FoldedHead
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.semantic_head import SemanticMode

_STRIP_ROWS = 8  # of a full picture that are rendered at a time: it has millions of samples


class _Read(NamedTuple):
    """What was made of the weights.

    Attributes:
        version: Of the weights.
        classes: Meaning of the head's answers.
        head: The head, folded; None = the model has none.
    """

    version: int
    classes: VoxelClasses
    head: FoldedHead | None


class SceneDinoSystem(FieldSystem):
    """Runs the feature field and its semantic head; without one, voxels are occupied or free."""

    config: SceneDinoConfig
    network: SceneDino

    def build(self, config: SceneDinoConfig | None) -> tuple[SceneDinoConfig, SceneDino]:
        """The network of a configuration."""
        config = config or SceneDinoConfig()
        self.mode = SemanticMode(config.semantic_mode)
        self.offers = ("depth", "feature_picture", *(["segmentation"] if config.classes else []))
        self._colours = LatentColours()
        self._read: _Read | None = None
        return config, SceneDino(config)

    @property
    def field(self) -> PixelField:
        """The field of density and latents."""
        return self.network.field

    @property
    def labels(self) -> LabelMap:
        """What voxel ids mean; depends on the weights, which know what a cluster stands for."""
        return self._current().classes.labels

    def encode(self, image: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 hidden h2 w2"]:
        """Hidden map of an image -1..1."""
        return self.network.encode(image)

    def decide(
        self, table: Float[Tensor, "p hidden"], voxels: SeenPoints, density: Float[Tensor, " v"]
    ) -> Decision:
        """Occupied where the (grown) density says so; features and classes of these voxels only."""
        volume = voxels.scatter(density, 0.0).view(self.grid.shape)
        grown = self.network.thick(volume).flatten()[voxels.index]
        here = (grown >= self.config.occupied_density).nonzero()[:, 0]
        labels = torch.zeros(len(grown), dtype=torch.uint8, device=grown.device)
        pieces = voxels.points.select(here).pieces()
        classes = [self._labels_of(fixed_activations(table, piece)) for piece in pieces]
        return Decision(labels.index_copy_(0, here, torch.cat(classes)), grown)

    def pictures(
        self, picture: RenderedPicture, rays: PictureRays, wanted: frozenset[str]
    ) -> dict[str, Tensor]:
        """Latents as colours, and the classes of the pixels."""
        extras = {}
        if "feature_picture" in wanted:
            colours = self._colours(self.field.latent(picture.hidden).float())
            extras["feature_picture"] = rays.pixels.spread(colours, 0)
        if "segmentation" in wanted & set(self.offers):
            classes = self._labels_of(picture.hidden)
            extras["segmentation"] = rays.pixels.spread(classes, self.labels.unknown_id)
        return extras

    def infer(self, views: Sequence[PreparedView], context: Context) -> Prediction:
        """Predict the voxels in front of the camera.

        Args:
            views: One view.
            context: Stamp and wanted extras; `PIXEL_CLASSES` is made for benchmarks only.

        Raises:
            CalibrationError: The camera sees nothing of the grid.
            PredictionError: The field answered with NaN.
        """
        prediction = super().infer(views, context)
        if PIXEL_CLASSES not in context.wanted or self.network.semantics is None:
            return prediction
        (view,) = views
        extras = {**prediction.extras, PIXEL_CLASSES: self._pixel_classes(view)}
        return replace(prediction, extras=extras)

    def reset(self) -> None:
        """Begin with new colours of the feature picture."""
        self._colours.reset()

    def notes(self) -> Sequence[str]:
        """How images are fitted, and what the classes are."""
        if self._current().classes.are_named:
            return super().notes()
        unnamed = Concern(
            "the weights do not say which class a cluster stands for: voxels carry the numbers of "
            "clusters, and all of them count as blocking"
        )
        return [*super().notes(), unnamed]

    def _labels_of(self, hidden: Float[Tensor, "n hidden"]) -> UInt8[Tensor, " n"]:
        """Voxel ids of hidden layers of the field."""
        read = self._current()
        if read.head is None:
            return torch.ones(len(hidden), dtype=torch.uint8, device=hidden.device)
        return read.classes.id_of.to(hidden.device)[read.head.classes(hidden)]

    def _pixel_classes(self, view: PreparedView) -> UInt8[Tensor, "h w"]:
        """The head's answers for every pixel of the camera's image at the network's size."""
        pixels = picture_pixels(view, self.config.input_size)
        with torch.inference_mode(), autocast(self.device, self.precision):
            table = pixel_table(self.encode(view.image[None]))
            return torch.cat([self._strip(view, s, table) for s in pixels.strips(_STRIP_ROWS)])

    def _strip(
        self, view: PreparedView, pixels: PicturePixels, table: Float[Tensor, "p hidden"]
    ) -> UInt8[Tensor, "h w"]:
        with torch.autocast(self.device.type, enabled=False):
            rays = rays_of(self.field, view, pixels, self.config, table.dtype)
        hidden = render_picture(self.field, table, rays).hidden
        return pixels.spread(self._current().head.classes(hidden).to(torch.uint8), NOT_SEEN)

    def _current(self) -> _Read:
        """What the weights say; read anew when others were loaded."""
        network, head = self.network, self.network.semantics
        parts = (network.field, network.expansion, *([] if head is None else [head]))
        version = sum(t._version for part in parts for t in part.state_dict().values())
        if self._read is None or self._read.version != version:
            folded = None
            if head is not None:
                with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                    folded = FoldedHead(network.field, network.expansion, head, self.mode)
            self._read = _Read(version, voxel_classes(head, self.mode), folded)
        return self._read
