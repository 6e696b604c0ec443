"""From settings to a system with weights on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch

from occ_perception.core.errors import ConfigError
from occ_perception.ros.settings import NodeSettings
from occ_perception.systems.base import OccupancySystem, Precision
from occ_perception.systems.catalog import build_system
from occ_perception.text.wording import Wordings, put_into_force, wordings_of
from occ_perception.weights.load import load_weights
from occ_perception.weights.shipped import chosen_weights


@dataclass(frozen=True, eq=False)
class Loaded:
    """A system ready to run.

    Attributes:
        system: The system.
        device: Where it runs, e.g. "cuda:0".
        weights: Name of its weights; empty = random.
        wordings: Makes vectors of words, for a system with prompts.
    """

    system: OccupancySystem
    device: str
    weights: str
    wordings: Wordings | None = None


Loader = Callable[[NodeSettings], Loaded]
_DEVICE_KINDS = ("cpu", "cuda")  # torch knows more, nothing here was proven on them


def resolve_device(wanted: str) -> str:
    """A device of this machine.

    Raises:
        ConfigError: The name is no device, or this machine lacks it.
    """
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in _DEVICE_KINDS:
        raise ConfigError(f"parameter 'system.device' is '{wanted}'; give auto, cpu or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"parameter 'system.device' is '{wanted}', but this machine has "
            f"{torch.cuda.device_count()} CUDA devices; give auto or cpu"
        )
    return str(device)


def loader_of(name: str) -> Loader:
    """A function that builds the named system of the catalogue and loads its weights."""

    def load(settings: NodeSettings) -> Loaded:
        wanted = settings.system
        device = resolve_device(wanted.device)
        system = build_system(
            name,
            preset=wanted.preset,
            device=device,
            precision=cast(Precision, wanted.precision),
            adapt=settings.configured,
        )
        weights = chosen_weights(wanted.weights, name, wanted.preset)
        if weights is not None:
            load_weights(system.network, weights, system=name)
        settings.complete(system)
        wordings = _with_first_words(system, settings, device) if system.needs.prompts else None
        return Loaded(system, device, weights.name if weights else "", wordings)

    return load


def _with_first_words(system: Any, settings: Any, device: str) -> Wordings:
    """What turns words into vectors; the configured ones are in force."""
    given = (settings.embeddings, device, settings.background)
    wordings = wordings_of(system.config, system.labels.name, *given)
    put_into_force(system, wordings.of(settings.prompts))
    return wordings
