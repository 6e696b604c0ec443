"""The contract between a system and everything that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.core.types import CameraFrame, Prediction, PreparedView

Precision = Literal["fp32", "bf16", "fp16"]

# An extra for benchmarks, which no node publishes: what a semantic head answers for every pixel of
# the first camera's image at the network's size, uint8; Cityscapes train ids, or clusters.
PIXEL_CLASSES = "pixel_classes"
NOT_SEEN = 255  # pixels that the network was not shown

_DTYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Mixed precision as asked for; float32 switches it off."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


@dataclass(frozen=True)
class Needs:
    """What a system has to be given.

    Attributes:
        cameras: Roles of its cameras in the order of `infer`'s views, e.g. ("left", "right").
        history: Number of earlier frame sets that it keeps.
        stereo: The cameras are a rectified pair.
        ego_motion: It wants `Context.T_world_base`.
        prompts: Its classes are text that may change at run time.
    """

    cameras: tuple[str, ...]
    history: int = 0
    stereo: bool = False
    ego_motion: bool = False
    prompts: bool = False


@dataclass(frozen=True, eq=False)
class Context:
    """What belongs to a whole frame set.

    Attributes:
        stamp_ns: Anchor stamp, nanoseconds.
        T_world_base: `[4, 4]` pose of the grid frame in a fixed frame, or None if not known.
        wanted: Which of the system's `offers` somebody listens to; the others need no work.
    """

    stamp_ns: int
    T_world_base: npt.NDArray[np.float64] | None = None
    wanted: frozenset[str] = frozenset()


class Concern(str):
    """A note that is worth a warning."""

    __slots__ = ()


@runtime_checkable
class OccupancySystem(Protocol):
    """Camera frames in, voxels out; knows nothing of ROS, files or threads.

    Attributes:
        grid: Where its voxels are.
        labels: What their ids mean.
        needs: What it has to be given.
        offers: What it can put into `Prediction.extras` beside the voxels, e.g. "depth"; it does
            so for what `Context.wanted` names.
        network: Its weights.
    """

    grid: GridSpec
    labels: LabelMap
    needs: Needs
    offers: tuple[str, ...]
    network: nn.Module

    def preprocess(self, frame: CameraFrame) -> PreparedView:
        """Turn one camera's image into network input, as it arrives."""
        ...

    def infer(self, views: Sequence[PreparedView], context: Context) -> Prediction:
        """Predict voxels from the views, ordered as `needs.cameras`; stays on the device."""
        ...

    def reset(self) -> None:
        """Forget history, e.g. after a jump in time."""
        ...

    def notes(self) -> Sequence[str]:
        """What a user should know of how the cameras met so far are treated, for the log.

        A `Concern` among them is logged as a warning.
        """
        ...
