"""What every training is asked for, whatever the system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from occ_perception.core.errors import ConfigError
from occ_training.data.bag_scene import Bags
from occ_training.labels.layers import find_layer


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

    def check_layers(self, system: str) -> None:
        """Refuse what a system cannot be trained with whose teachers answer beforehand.

        Args:
            system: Its name, for messages.

        Raises:
            ConfigError: A teacher is to run beside the training.
            BagError: A label layer is missing or incomplete.
        """
        if self.teacher:
            raise ConfigError(
                f"the teachers of {system} answer beforehand, not beside the training: leave out "
                f"--teacher {self.teacher}, run `occ label` and give --layers"
            )
        for drive in self.bags:
            for layer in drive.layers:
                find_layer(layer.parent, layer.name)
