"""What every system's training starts from: a network, what is computed, how the loop runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from occ_training.engine.recipe import LoopConfig
from occ_training.engine.schedule import StepCosine


@dataclass(frozen=True)
class Preset:
    """A network with the training that belongs to it; systems narrow the first two types.

    Attributes:
        network: Sizes.
        training: What is computed; a dataclass with `rate` and `schedule`.
        loop: How the loop runs.
    """

    network: Any
    training: Any
    loop: LoopConfig


AnyPreset = TypeVar("AnyPreset", bound=Preset)


def with_steps(preset: AnyPreset, steps: int) -> AnyPreset:
    """A preset of another length; a cosine is stretched to it."""
    training, schedule = preset.training, preset.training.schedule
    if isinstance(schedule, StepCosine):
        warmup = replace(schedule.warmup, steps=min(schedule.warmup.steps, max(steps // 10, 1)))
        training = replace(training, schedule=replace(schedule, steps=steps, warmup=warmup))
    return replace(preset, training=training, loop=replace(preset.loop, steps=steps))
