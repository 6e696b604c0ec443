"""A prediction on the host, checked, and the views that people and planners take of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from occ_perception.core.errors import PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.core.types import Prediction

Mask = npt.NDArray[np.bool_]

FREE, OCCUPIED, UNKNOWN = 0, 100, -1
POINT_TYPE = np.dtype(
    [("x", "f4"), ("y", "f4"), ("z", "f4"), ("rgb", "f4"), ("label", "u1")]  # packed, 17 bytes
)


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on the host, C order of `[x, y, z]`.

    Attributes:
        labels: `[X, Y, Z]` uint8 class ids.
        known: `[X, Y, Z]` bool, or None if every voxel is known.
        probability: `[X, Y, Z]` uint8, p = value / 254, or None.
        grid: Where the voxels are.
        label_map: What the ids mean.
        stamp_ns: Stamp of the image that is answered.
    """

    labels: npt.NDArray[np.uint8]
    known: Mask | None
    probability: npt.NDArray[np.uint8] | None
    grid: GridSpec
    label_map: LabelMap
    stamp_ns: int

    def is_known(self) -> Mask:
        """`[X, Y, Z]`: the label rests on an observation. Unknown is not free."""
        stated = self.labels != self.label_map.unknown_id
        return stated if self.known is None else stated & self.known

    def is_occupied(self) -> Mask:
        """`[X, Y, Z]`: known, and not free."""
        return self.is_known() & (self.labels != self.label_map.free_id)

    def points(self) -> npt.NDArray[Any]:
        """Centres of the occupied voxels with colour and label: `[n]` of `POINT_TYPE`, metres."""
        flat = np.flatnonzero(self.is_occupied())
        labels = self.labels.reshape(-1)[flat]
        cloud = np.empty(len(labels), POINT_TYPE)
        index = np.unravel_index(flat, self.grid.shape)
        for axis, name in enumerate("xyz"):
            cloud[name] = self.grid.axis_centers(axis).astype(np.float32)[index[axis]]
        cloud["label"] = labels
        cloud["rgb"] = _packed(self.label_map.palette())[labels]
        return cloud

    def footprint(self, layers: slice, blocking: Mask) -> npt.NDArray[np.int8]:
        """Collapse a height band for planners.

        Args:
            layers: Layers of the band along z.
            blocking: `[256]`, does the id block a robot.

        Returns:
            `[X, Y]` int8: 100 where a known voxel of the band blocks, 0 where all voxels of the
            band are known and none blocks, -1 elsewhere.
        """
        known = self.is_known()
        blocks = looked_up(self.labels, blocking) & known
        # Layer by layer: numpy is slow where the reduced axis is short.
        is_known, is_blocked = known[:, :, layers.start].copy(), blocks[:, :, layers.start].copy()
        for layer in range(layers.start + 1, layers.stop):
            is_known &= known[:, :, layer]
            is_blocked |= blocks[:, :, layer]
        cells = np.where(is_known, np.int8(FREE), np.int8(UNKNOWN))
        cells[is_blocked] = OCCUPIED
        return cells


def host_volume(prediction: Prediction, label_map: LabelMap) -> Volume:
    """Bring a prediction to the host.

    Raises:
        PredictionError: The probabilities are not in 0..1, or an id is not in the label map.
    """
    probability = None
    if prediction.confidence is not None:
        confidence = prediction.confidence.float()
        low, high = torch.aminmax(confidence)  # both are NaN if one value is
        if not (low >= 0 and high <= 1):
            raise PredictionError(
                "the network's probabilities hold NaN or leave 0..1; nothing is published (check "
                "the weights, or use system.precision fp32)"
            )
        probability = _to_host((confidence * 254).add_(0.5).to(torch.uint8))
    labels = _to_host(prediction.labels)
    if labels.dtype != np.uint8:
        raise PredictionError(f"labels are {labels.dtype}, they must be uint8 class ids")
    is_defined = np.zeros(256, np.bool_)
    is_defined[[*label_map.ids, label_map.unknown_id]] = True
    if not looked_up(labels, is_defined).all():
        strangers = np.setdiff1d(labels, np.flatnonzero(is_defined)).tolist()
        raise PredictionError(
            f"the network predicts the ids {strangers}, which label map "
            f"'{label_map.name}' does not define; the weights belong to another label map"
        )
    known = None if prediction.known is None else _to_host(prediction.known.bool())
    return Volume(labels, known, probability, prediction.grid, label_map, prediction.stamp_ns)


def looked_up(labels: npt.NDArray[np.uint8], table: Mask) -> Mask:
    """`table[labels]` of a whole volume; opencv does it ten times faster than numpy.

    Args:
        labels: uint8 ids of any shape.
        table: `[256]`.
    """
    found = cv2.LUT(labels.reshape(1, -1), table.view(np.uint8))
    return found.reshape(labels.shape).view(np.bool_)


def _to_host(volume: torch.Tensor) -> npt.NDArray[Any]:
    return np.ascontiguousarray(volume.detach().cpu().numpy())


def _packed(palette: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Colours `[n, 3]` as the bits 0x00RRGGBB of a float, the form in which viewers expect them."""
    red, green, blue = palette.astype(np.uint32).T
    return ((red << 16) | (green << 8) | blue).view(np.float32)
