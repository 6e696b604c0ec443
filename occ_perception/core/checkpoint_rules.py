"""Official checkpoints to ours by rules: names as regular expressions, everything else refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Batch norm's counters play no part: our momentum is fixed.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class KeyRules:
    """How a system's official names become ours.

    Attributes:
        renames: Patterns and replacements, all applied in order; a name that none of them touches
            is unknown.
        drops: Pattern of entries that are left out on purpose -> why.
    """

    renames: Sequence[tuple[str, str]]
    drops: Mapping[str, str]

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out, or None when it is kept."""
        if key.endswith(f".{COUNTER}"):
            return "counter of a batch norm"
        return next((why for pattern, why in self.drops.items() if re.search(pattern, key)), None)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        ours = key
        for pattern, replacement in self.renames:
            ours = re.sub(pattern, replacement, ours)
        return None if ours == key else ours


class RuledCheckpoint:
    """A `weights.convert.CheckpointMap` that is rules and a network; systems fill in the rest.

    Args:
        config: Frozen dataclass with the sizes of the network.
    """

    system: str
    labels: str
    licence: str
    rules: KeyRules

    def __init__(self, config: Any) -> None:
        self._config = config

    def network(self) -> nn.Module:
        """The module that the checkpoint fills.

        Raises:
            NotImplementedError: The system names no network.
        """
        raise NotImplementedError

    def config(self) -> Mapping[str, Any]:
        """Configuration of the network, as plain values."""
        return dataclasses.asdict(self._config)

    def grid(self) -> Mapping[str, Any]:
        """No grid of its own: fields and depth can be asked anywhere."""
        return {}

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        return self.rules.drop_reason(key)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        return self.rules.rename(key)

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """An official entry in our layout."""
        return tensor

    def check(self, official: Mapping[str, Tensor]) -> None:
        """Raise when stored constants contradict the configuration; here there are none."""

    def wanted(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of our network."""
        with torch.device("meta"):
            state = self.network().state_dict()
        return {
            name: tuple(tensor.shape)
            for name, tensor in state.items()
            if not name.endswith(COUNTER)
        }
