"""From a run's checkpoint to the weights file that the node loads."""

from __future__ import annotations

from pathlib import Path

import torch

from occ_perception.core.checkpoint_rules import COUNTER, RuledCheckpoint
from occ_perception.weights.files import sha256_of, write_weights
from occ_training.engine.checkpointing import (
    BEST,
    LAST,
    MODEL,
    CheckpointError,
    CheckpointFolder,
    read_checkpoint,
)


def export_weights(
    folder: CheckpointFolder,
    about: RuledCheckpoint,
    target: Path,
    *,
    best: bool = False,
    half: bool = True,
    licence: str = "Apache-2.0",
) -> Path:
    """Write weights (the average, if the run has one) in the node's format.

    Args:
        folder: Checkpoints of the run.
        about: What the side file says of the network: the system's checkpoint map.
        target: File to write, ending in ".safetensors".
        best: The checkpoint with the best score instead of the last one.
        half: Write half floats, which is half the size.
        licence: Licence of the weights.

    Raises:
        CheckpointError: There is no checkpoint.
        WeightsError: The target cannot be written.
    """
    source = folder.root / (BEST if best else LAST)
    if not source.exists():
        raise CheckpointError(f"'{folder.root}' has no checkpoint '{source.name}' yet")
    checkpoint = read_checkpoint(source)
    state = checkpoint.ema or checkpoint.model
    wanted = about.wanted()
    kept = {k: v for k, v in state.items() if k in wanted and not k.endswith(COUNTER)}
    if half:
        kept = {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in kept.items()}
    # What makes scores worthless must not be lost on the way to whoever reports them.
    warning = checkpoint.config["recipe"].get("warning")
    source_text = f"{folder.root.name}, step {checkpoint.step}"
    write_weights(
        target,
        kept,
        {
            "system": about.system,
            "config": dict(about.config()),
            "labels": about.labels,
            "grid": dict(about.grid()),
            "source": f"{source_text}; {warning}" if warning else source_text,
            "source_sha256": sha256_of(source / MODEL),
            "licence": licence,
        },
    )
    return target
