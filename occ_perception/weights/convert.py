"""Read an official checkpoint once, strictly, without running its pickle; write our format."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from occ_perception.core.errors import WeightsError
from occ_perception.weights.files import sha256_of, write_weights
from occ_perception.weights.load import check_fit, first_five
from occ_perception.weights.table import find_known

# What torch's reader stumbles over in a cut or altered file, found by damaging files at random.
_DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
_NESTS = ("state_dict", "model")
_LARGEST_BYTES = 16 * 2**30  # a full training checkpoint with optimiser and teacher is about 3 GB
_LARGEST_LEGACY_BYTES = 4 * 2**30  # files older than torch 1.6 cannot be mapped, only read


class CheckpointMap(Protocol):
    """How a system's official checkpoint becomes ours; each system's `checkpoint.py` has one."""

    system: str
    labels: str
    licence: str

    def config(self) -> Mapping[str, Any]:
        """Configuration of the network, as plain values."""
        ...

    def grid(self) -> Mapping[str, Any]:
        """Grid of the predicted voxels, as plain values."""
        ...

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        ...

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        ...

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """An official entry in our layout (a view where possible)."""
        ...

    def check(self, official: Mapping[str, Tensor]) -> None:
        """Raise `WeightsError` when stored constants contradict the configuration."""
        ...

    def wanted(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of our network."""
        ...


@dataclass(frozen=True)
class ConvertReport:
    """What a conversion did.

    Attributes:
        kept: Number of entries written.
        parameters: Number of values in them.
        dropped: Entries left out on purpose, counted by reason.
    """

    kept: int
    parameters: int
    dropped: Mapping[str, int]


def convert_file(checkpoint_map: CheckpointMap, source: Path, target: Path) -> ConvertReport:
    """Convert an official checkpoint file to safetensors and side file.

    Args:
        checkpoint_map: The system's map.
        source: Official file as downloaded.
        target: File to write, ending in ".safetensors".

    Returns:
        What was kept and what was dropped on purpose.

    Raises:
        WeightsError: The source is missing, damaged, unsafe or not this network; nothing is
            written then.
    """
    digest = _verified_hash(source)
    official = state_dict_of(read_checkpoint(source), source.name)
    ours, report = convert_state(checkpoint_map, official, source.name)
    about = {
        "system": checkpoint_map.system,
        "config": dict(checkpoint_map.config()),
        "labels": checkpoint_map.labels,
        "grid": dict(checkpoint_map.grid()),
        "source": source.name,
        "source_sha256": digest,
        "licence": checkpoint_map.licence,
    }
    write_weights(target, ours, about)
    return report


def convert_state(
    checkpoint_map: CheckpointMap, official: Mapping[str, Tensor], name: str
) -> tuple[dict[str, Tensor], ConvertReport]:
    """Rename and re-lay every official entry; anything unexpected is refused.

    Args:
        checkpoint_map: The system's map.
        official: Official state dict.
        name: File name for messages.

    Returns:
        Our state (views of the official tensors) and the report.

    Raises:
        WeightsError: Entries are unknown, missing, misshapen or contradict the configuration.
    """
    dropped: Counter[str] = Counter()
    ours: dict[str, Tensor] = {}
    unknown = []
    for key, tensor in official.items():
        reason = checkpoint_map.drop_reason(key)
        renamed = None if reason else checkpoint_map.rename(key)
        if reason:
            dropped[reason] += 1
        elif renamed is None:
            unknown.append(key)
        else:
            ours[renamed] = checkpoint_map.relayout(key, tensor)
    if unknown:
        raise WeightsError(
            f"'{name}' is not a {checkpoint_map.system} checkpoint as published: unknown entries "
            f"{first_five(unknown)}"
        )
    check_fit({key: tuple(t.shape) for key, t in ours.items()}, checkpoint_map.wanted(), name)
    checkpoint_map.check(official)
    ours = {key: tensor.float() for key, tensor in ours.items()}
    parameters = sum(tensor.numel() for tensor in ours.values())
    return ours, ConvertReport(len(ours), parameters, dict(dropped))


def state_dict_of(checkpoint: object, name: str) -> dict[str, Tensor]:
    """The state dict inside a loaded checkpoint, whatever it is nested in.

    Raises:
        WeightsError: There is no state dict in it.
    """
    for nest in _NESTS:
        if isinstance(checkpoint, dict) and isinstance(checkpoint.get(nest), dict):
            checkpoint = checkpoint[nest]
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise WeightsError(f"'{name}' holds no state dict")
    strangers = [str(key) for key, value in checkpoint.items() if not isinstance(value, Tensor)]
    if strangers:
        raise WeightsError(f"'{name}' holds entries that are not tensors: {first_five(strangers)}")
    state = {str(key): value for key, value in checkpoint.items()}
    if all(key.startswith("module.") for key in state):  # saved from a DataParallel wrapper
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def read_checkpoint(path: Path) -> object:
    """Read a torch checkpoint without executing anything in it and without copying tensors.

    Raises:
        WeightsError: The file is damaged, too large or holds more than plain tensors.
    """
    mapped = zipfile.is_zipfile(path)
    if not mapped and path.stat().st_size > _LARGEST_LEGACY_BYTES:
        raise WeightsError(f"'{path.name}' is no torch archive and too large to be read at once")
    try:
        if mapped:
            _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch muses about pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"'{path.name}' is damaged or holds code instead of plain tensors and is refused"
        ) from None
    except _DAMAGE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"'{path.name}' is truncated or no torch checkpoint ({first_line}); download it again"
        ) from None


def _check_archive(path: Path) -> None:
    """Sizes inside the archive must be what they are on disk: torch never compresses."""
    with zipfile.ZipFile(path) as archive:
        inside = sum(entry.file_size for entry in archive.infolist())
        compressed = any(e.compress_type != zipfile.ZIP_STORED for e in archive.infolist())
    if compressed or inside > path.stat().st_size:
        raise WeightsError(f"'{path.name}' is a compressed archive, not a torch checkpoint")


def _verified_hash(path: Path) -> str:
    if not path.is_file():
        raise WeightsError(f"official weights file '{path}' does not exist")
    size = path.stat().st_size
    if not 0 < size <= _LARGEST_BYTES:
        raise WeightsError(f"'{path.name}' has {size} bytes; no known checkpoint has this size")
    digest = sha256_of(path)
    known = find_known(path.name)
    if known is not None and known.sha256 not in (None, digest):
        raise WeightsError(
            f"'{path.name}' is not the published file (SHA-256 {digest[:12]}..., published "
            f"{str(known.sha256)[:12]}...); download it again"
        )
    return digest
