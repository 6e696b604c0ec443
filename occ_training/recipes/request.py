"""What every training is asked for, whatever the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from occ_training.data.bag_scene import Bags


@dataclass(frozen=True)
class Request:
    """What a training is to be made of, beside its preset.

    Attributes:
        bags: Drives to train on, with their label layers.
        val: Bags to score after every epoch.
        teacher: Runs beside the training: a file or "toy"; empty = none.
    """

    bags: Sequence[Bags]
    val: Sequence[Path] = ()
    teacher: str = ""
