"""Names of official checkpoint entries to ours and back, as pairs of prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

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
