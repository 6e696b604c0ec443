"""Load our weights into a module: verified, strict, never a pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from occ_perception.core.errors import WeightsError
from occ_perception.weights.files import WeightsInfo, describe, open_verified

__all__ = ["WeightsInfo", "describe", "load_weights", "wanted_shapes"]

_COUNTER = ".num_batches_tracked"


def wanted_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a weights file of a module must hold (batch counters are not kept)."""
    return {
        name: tuple(tensor.shape)
        for name, tensor in module.state_dict().items()
        if not name.endswith(_COUNTER)
    }


def load_weights(module: nn.Module, path: Path, system: str) -> WeightsInfo:
    """Fill a module from a converted weights file.

    Args:
        module: Network on any device; its tensors are overwritten in place.
        path: The safetensors file; its side file lies beside it.
        system: Name of the system that the module belongs to.

    Returns:
        What the side file says.

    Raises:
        WeightsError: The file is missing, damaged, of another system, or does not fit the module.
    """
    info, archive = open_verified(path)
    if info.system != system:
        raise WeightsError(f"'{path.name}' holds weights of {info.system}, not of {system}")
    shapes = {name: tuple(archive.get_slice(name).get_shape()) for name in archive.keys()}  # noqa: SIM118
    check_fit(shapes, wanted_shapes(module), path.name)
    state = module.state_dict()
    with torch.no_grad():
        for name in shapes:
            state[name].copy_(archive.get_tensor(name))
    return info


def check_fit(
    found: Mapping[str, Sequence[int]], wanted: Mapping[str, Sequence[int]], file: str
) -> None:
    """Refuse any difference of names or shapes.

    Raises:
        WeightsError: Names up to five of the tensors that are missing, unknown or misshapen.
    """
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    misshapen = [
        f"{name} {tuple(found[name])} instead of {tuple(wanted[name])}"
        for name in wanted
        if name in found and tuple(found[name]) != tuple(wanted[name])
    ]
    for kind, names in (("lacks", missing), ("has unknown", unknown), ("misshapes", misshapen)):
        if names:
            raise WeightsError(
                f"'{file}' does not fit this network: it {kind} {first_five(names)}; "
                "check that file and configuration belong together"
            )


def first_five(names: Sequence[str]) -> str:
    """Up to five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
