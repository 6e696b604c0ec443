"""What a LiDAR teaches a density field, the same for ViPOcc and SceneDINO."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView, PixelField
from occ_training.data.sight import SightPoints
from occ_training.losses.sight import sight_loss


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
