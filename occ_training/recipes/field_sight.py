"""What a LiDAR teaches a density field, the same for ViPOcc and SceneDINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView, PixelField
from occ_training.data.sight import SightPoints, SightSpec
from occ_training.data.views import MultiView, view_zero
from occ_training.losses.sight import sight_loss


class Sample(Protocol):
    """Views, and cells whose state the LiDAR tells, if it was asked."""

    @property
    def views(self) -> MultiView:
        """The views, the input first."""
        ...

    @property
    def sight(self) -> SightPoints | None:
        """The cells."""
        ...


class PictureStep(Protocol):
    """A published step, which learns from pictures."""

    @property
    def terms(self) -> Mapping[str, Tensor]:
        """Its unweighted terms."""
        ...

    @property
    def encoded(self) -> EncodedView:
        """The encoded inputs."""
        ...


class Lesson(NamedTuple):
    """Who teaches in a step.

    Attributes:
        pictures: The pictures do, with all published terms; the LiDAR does wherever it was asked.
        cell_m: Edge length of the LiDAR's cells.
    """

    pictures: bool = True
    cell_m: float = SightSpec.cell_m

    @classmethod
    def draw(cls, picture_share: float, sight: SightSpec) -> Lesson:
        """Let pictures teach in a share of the steps, out of torch's generator."""
        pictures = picture_share >= 1 or float(torch.rand(())) < picture_share
        return cls(pictures, sight.cell_m)


def field_terms(
    lesson: Lesson,
    field: PixelField,
    batch: Sample,
    step: Callable[[], PictureStep],
    encode: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Unweighted terms of a batch.

    Args:
        lesson: Who teaches.
        field: The field.
        batch: The samples.
        step: Does the published step.
        encode: Makes the hidden maps of the inputs, where the published step is left out.
    """
    terms: dict[str, Tensor] = {}
    if lesson.pictures:
        done = step()
        terms, encoded = dict(done.terms), done.encoded
    else:
        encoded = view_zero(encode(batch.views.images[:, 0]), batch.views)
    if batch.sight is not None:
        terms["sight"] = sight_term(field, encoded, batch.sight, lesson.cell_m)
    return terms


def sight_term(
    field: PixelField, encoded: EncodedView, sight: SightPoints, cell_m: float
) -> Float[Tensor, ""]:
    """Cross-entropy of the field at the centres of cells whose state the LiDAR tells.

    Args:
        field: The field.
        encoded: The encoded inputs.
        sight: Cells in the frames of the inputs' cameras.
        cell_m: Their edge length.
    """
    # Half floats know the place of a point forty metres away by a metre or so.
    with torch.autocast(encoded.hidden.device.type, enabled=False):
        exact = encoded._replace(hidden=encoded.hidden.float())
        density = field.at(exact, sight.points).density
    return sight_loss(density, sight.occupied, sight.known, cell_m)
