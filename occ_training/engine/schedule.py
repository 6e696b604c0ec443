"""Learning rates over time: a factor on each group's base rate, as a function of the position.

The five published schedules are named at the end. A step is one change of the weights, whatever the
number of batches it was accumulated from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol


class Schedule(Protocol):
    """A factor on the learning rate."""

    def factor(self, step: int, epoch: int) -> float:
        """Factor of a step (counted from 0 over the whole training) in an epoch (from 0)."""
        ...


@dataclass(frozen=True)
class Warmup:
    """Linear rise at the start, multiplied with whatever comes out of the schedule.

    Attributes:
        steps: Length, 0 = none.
        start: Factor of the first step.
    """

    steps: int = 0
    start: float = 0.001

    def factor(self, step: int) -> float:
        """Factor of a step."""
        if step >= self.steps:
            return 1.0
        return 1 - (1 - step / self.steps) * (1 - self.start)


@dataclass(frozen=True)
class EpochDrops:
    """Constant between drops at the start of given epochs.

    Attributes:
        epochs: Epochs (from 0) at whose start the rate drops.
        drop: Factor of each drop.
        warmup: Rise at the start.
    """

    epochs: tuple[int, ...] = ()
    drop: float = 0.1
    warmup: Warmup = Warmup()

    def factor(self, step: int, epoch: int) -> float:
        """Factor of a step."""
        return self.warmup.factor(step) * self.drop ** sum(epoch >= e for e in self.epochs)


@dataclass(frozen=True)
class StepDrops:
    """A drop every so many steps.

    Attributes:
        every: Steps between drops.
        drop: Factor of each drop.
        warmup: Rise at the start.
    """

    every: int
    drop: float = 0.1
    warmup: Warmup = Warmup()

    def factor(self, step: int, epoch: int) -> float:
        """Factor of a step."""
        return self.warmup.factor(step) * self.drop ** (step // self.every)


@dataclass(frozen=True)
class LateCosine:
    """Constant, then half a cosine down to a floor, changed once per epoch.

    Attributes:
        start: Epoch at which the cosine starts.
        epochs: Its length; reached only after the last epoch.
        floor: Factor at its end.
        warmup: Rise at the start.
    """

    start: int
    epochs: int
    floor: float = 0.01
    warmup: Warmup = Warmup()

    def factor(self, step: int, epoch: int) -> float:
        """Factor of a step."""
        return self.warmup.factor(step) * _cosine((epoch - self.start) / self.epochs, self.floor)


@dataclass(frozen=True)
class StepCosine:
    """Half a cosine over the whole training, changed at every step; for short trainings.

    Attributes:
        steps: Length of the training.
        floor: Factor at its end.
        warmup: Rise at the start.
    """

    steps: int
    floor: float = 0.01
    warmup: Warmup = Warmup()

    def factor(self, step: int, epoch: int) -> float:
        """Factor of a step."""
        return self.warmup.factor(step) * _cosine(step / self.steps, self.floor)


def _cosine(share: float, floor: float) -> float:
    share = min(max(share, 0.0), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))


VLSCENE = EpochDrops(epochs=(20, 25))
LANGOCC = LateCosine(start=7, epochs=11, warmup=Warmup(200))
GAUSSIANFLOWOCC = LateCosine(start=9, epochs=9, warmup=Warmup(200))
VIPOCC = StepDrops(every=120_000)
SCENEDINO = StepDrops(every=50_000)
