"""What a training consists of: a recipe, and how the loop runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from occ_perception.systems.base import Precision
from occ_training.engine.ema import EmaConfig
from occ_training.engine.schedule import Schedule


@dataclass(frozen=True)
class LoopConfig:
    """How the loop runs.

    Attributes:
        output: Folder of the run: checkpoints, curves, log; of `occ train` it is --output.
        epochs: Length of the training in passes over the data.
        steps: Length in changes of the weights, if that comes first; 0 = only `epochs` count.
        batch_size: Samples per process and pass through the network.
        accumulate: Passes per change of the weights.
        clip_norm: Largest L2 norm of the gradient; 0 = not limited.
        precision: "fp32", "bf16" or "fp16" (with loss scaling).
        seed: Of everything random.
        workers: Processes that load data; 0 = the loop itself loads.
        device: "auto" (a GPU if there is one) or "cpu".
        checkpoint_every: Steps between checkpoints; 0 = one per epoch.
        keep: Checkpoints that stay.
        log_every: Steps between log lines.
        damaged: Damaged samples that are tolerated.
    """

    output: Path
    epochs: int = 1
    steps: int = 0
    batch_size: int = 1
    accumulate: int = 1
    clip_norm: float = 0.0
    precision: Precision = "fp32"
    seed: int = 0
    workers: int = 2
    device: str = "auto"
    checkpoint_every: int = 0
    keep: int = 3
    log_every: int = 10
    damaged: int = 100


class Batch(Protocol):
    """What a recipe collates samples to."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        ...


@dataclass(frozen=True, eq=False)
class Recipe:
    """What is trained, on what, towards what.

    Attributes:
        network: With its initial weights.
        optimizer: Over its parameters, at the base learning rates.
        schedule: Factor on the rates.
        dataset: Raises `OccError` for damaged samples; `set_epoch` is called if it has one.
        collate: Samples to a batch.
        losses: Terms of a batch by name; their sum is minimised. Calls the network once.
        validate: Scores of a network by name, after every epoch; None = never.
        best: Name of the score whose maximum marks the `best` checkpoint.
        ema: Averaging of the weights, None = none.
        config: Resolved configuration, as plain values; stored, and compared at a resume.
        notes: What a user should know of how it starts, for the log.
    """

    network: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    dataset: Dataset[Any]
    collate: Callable[[Sequence[Any]], Batch]
    losses: Callable[[nn.Module, Any], Mapping[str, Tensor]]
    config: Mapping[str, Any]
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None
    best: str = ""
    ema: EmaConfig | None = None
    notes: Sequence[str] = ()


def plain(config: Any) -> dict[str, Any]:
    """A configuration of dataclasses as plain values that JSON can hold."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
