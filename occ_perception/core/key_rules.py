"""Names of official checkpoint entries to ours, as regular expressions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Batch norm's counters play no part: our momentum is fixed.
_COUNTER = re.compile(r"\.num_batches_tracked$")


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
        if _COUNTER.search(key):
            return "counter of a batch norm"
        return next((why for pattern, why in self.drops.items() if re.search(pattern, key)), None)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        ours = key
        for pattern, replacement in self.renames:
            ours = re.sub(pattern, replacement, ours)
        return None if ours == key else ours
