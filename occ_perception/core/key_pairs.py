"""Names of official checkpoint entries to ours and back, as pairs of prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from occ_perception.core.checkpoint_rules import COUNTER, RuledCheckpoint
from occ_perception.core.errors import WeightsError

Value = TypeVar("Value")


@dataclass(frozen=True)
class KeyPairs:
    """A renaming that can be undone.

    Attributes:
        pairs: Official prefix and ours; `*` stands for one component of the name on both sides,
            and what follows the prefix stays. The first pair that fits is applied, no other.
    """

    pairs: Sequence[tuple[str, str]]

    @cached_property
    def _forth(self) -> list[tuple[re.Pattern[str], str]]:
        return [_rule(official, ours) for official, ours in self.pairs]

    @cached_property
    def _back(self) -> list[tuple[re.Pattern[str], str]]:
        return [_rule(ours, official) for official, ours in self.pairs]

    def rename(self, official: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        return _apply(self._forth, official)

    def official(self, ours: str) -> str | None:
        """Official name of one of our entries, or None when there is none."""
        return _apply(self._back, ours)

    def export(self, state: Mapping[str, Value]) -> dict[str, Value]:
        """A state under its official names.

        Raises:
            WeightsError: An entry has no official name.
        """
        strange = [name for name in state if self.official(name) is None]
        if strange:
            raise WeightsError(f"no official name is known for {', '.join(strange[:5])}")
        return {str(self.official(name)): value for name, value in state.items()}


def _rule(source: str, target: str) -> tuple[re.Pattern[str], str]:
    pattern = "^" + re.escape(source).replace(r"\*", r"([^.]+)")
    parts = target.split("*")
    groups = "".join(rf"\{i}{part}" for i, part in enumerate(parts[1:], start=1))
    return re.compile(pattern), parts[0] + groups


def _apply(rules: Sequence[tuple[re.Pattern[str], str]], name: str) -> str | None:
    for pattern, target in rules:
        if pattern.match(name):
            return pattern.sub(target, name, count=1)
    return None


class PairedCheckpoint(RuledCheckpoint):
    """A checkpoint map that works both ways: renaming and layout can be undone."""

    names: KeyPairs

    def grid(self) -> Mapping[str, Any]:
        """Grid of the predicted voxels, as plain values."""
        return asdict(self._config.grid)

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        return "counter of a batch norm" if key.endswith(f".{COUNTER}") else None

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        return self.names.rename(key)

    def export(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state as the official code would save it, counters (at zero) included.

        Raises:
            WeightsError: An entry has no official name.
        """
        plain = {k: self.relayout(k, v) for k, v in ours.items() if not k.endswith(COUNTER)}
        named = self.names.export(plain)
        norms = (name for name in named if name.endswith("running_var"))
        return named | {name.replace("running_var", COUNTER): torch.tensor(0) for name in norms}
