"""What may change between a run and its continuation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from occ_training.engine.checkpointing import CheckpointError

# Where it runs, how it is told about, and how long: none of them changes what is computed next.
FREE = frozenset(
    f"loop.{name}"
    for name in (
        "output", "device", "workers", "checkpoint_every", "keep", "log_every", "damaged",
        "epochs", "steps",
    )
)  # fmt: skip


def check_resume(
    stored: Mapping[str, Any], now: Mapping[str, Any], free: frozenset[str] = FREE
) -> None:
    """Refuse to continue a run as another one.

    Args:
        stored: Configuration in the checkpoint.
        now: Configuration of this process.
        free: Dotted names that may differ.

    Raises:
        CheckpointError: Names what differs.
    """
    old, new = flattened(stored), flattened(now)
    different = [
        f"{name} was {old.get(name)!r} and is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in free
    ]
    if different:
        raise CheckpointError(
            f"the run cannot be resumed with another configuration: {'; '.join(different[:5])}; "
            f"give the old values or start a new run (free to change: {', '.join(sorted(free))})"
        )


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names; tuples as the lists that JSON makes of them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat
