"""Exponential moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class EmaConfig:
    """How fast the average follows; the defaults are those of LangOcc and GaussianFlowOcc.

    Attributes:
        decay: Share that is kept, in the long run.
        ramp: Updates over which the share rises to it.
        start: Updates that are counted as done at the start.
    """

    decay: float = 0.999
    ramp: float = 2000.0
    start: int = 10560


class Ema:
    """The average of all floating entries of a network's state; others are copied.

    Attributes:
        updates: Number of updates, the `start` of the configuration included.
        state: The averaged entries by name.
    """

    def __init__(self, config: EmaConfig, network: nn.Module) -> None:
        self._config = config
        self.updates = config.start
        self.state = {name: t.detach().clone() for name, t in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow the network by one step."""
        self.updates += 1
        keep = self._config.decay * (1 - math.exp(-self.updates / self._config.ramp))
        for name, value in network.state_dict().items():
            average = self.state[name]
            if average.is_floating_point():
                average.lerp_(value.to(average), 1 - keep)
            else:
                average.copy_(value)

    def load(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a stored average."""
        for name, average in self.state.items():
            average.copy_(state[name])
        self.updates = updates
