"""Our weights on disk: a safetensors file and a JSON side file that vouches for it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from occ_perception.core.errors import WeightsError

FORMAT = 1


@dataclass(frozen=True)
class WeightsInfo:
    """What the side file says.

    Attributes:
        system: Which of our systems the tensors belong to.
        config: Configuration of the network, as plain values.
        labels: Name of the label map of the predicted ids.
        grid: Grid of the predicted voxels, as plain values.
        source: Name of the file that the weights come from.
        source_sha256: Its hash.
        licence: Licence of the weights.
        tensors: Number of tensors.
        parameters: Number of values in them.
        sha256: Hash of the safetensors file.
        format: Version of this side file.
    """

    system: str
    config: Mapping[str, Any]
    labels: str
    grid: Mapping[str, Any]
    source: str
    source_sha256: str
    licence: str
    tensors: int
    parameters: int
    sha256: str
    format: int = FORMAT


def side_file(path: Path) -> Path:
    """The JSON that belongs to a safetensors file."""
    return path.with_suffix(".json")


def sha256_of(path: Path) -> str:
    """Hash of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write both files; a reader sees the old pair, the new pair, or a pair it refuses.

    Args:
        path: Target, ending in ".safetensors".
        tensors: State by our names.
        about: Fields of `WeightsInfo` but the counted ones.

    Raises:
        WeightsError: The target's name or folder cannot be used.
    """
    if path.suffix != ".safetensors":
        raise WeightsError(f"weights are written as .safetensors; '{path.name}' ends differently")
    if not path.parent.is_dir():
        raise WeightsError(f"folder '{path.parent}' does not exist; create it first")
    owned = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with _replacing(path) as temporary:
        save_file(owned, temporary)
        digest = sha256_of(temporary)
    info = WeightsInfo(
        **about,
        tensors=len(owned),
        parameters=sum(tensor.numel() for tensor in owned.values()),
        sha256=digest,
    )
    with _replacing(side_file(path)) as temporary:
        temporary.write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")


class _replacing:  # noqa: N801  (reads as a verb in `with`)
    """Write to a neighbour, flush it to the disk, then rename it over the target."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __enter__(self) -> Path:
        handle, name = tempfile.mkstemp(dir=self.target.parent, prefix=f".{self.target.name}.")
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self.temporary.unlink(missing_ok=True)
            return
        with self.temporary.open("rb") as file:
            os.fsync(file.fileno())
        self.temporary.chmod(0o644)
        self.temporary.replace(self.target)


def describe(path: Path) -> WeightsInfo:
    """Read the side file of a weights file.

    Args:
        path: The safetensors file.

    Raises:
        WeightsError: The file or its side file is missing, of another kind, or not readable.
    """
    if not path.is_file():
        raise WeightsError(f"weights file '{path}' does not exist; check system.weights")
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"'{path.name}' is not a safetensors file; official files are converted once with "
            f"`occ weights convert SYSTEM {path.name} OUT.safetensors`"
        )
    about = side_file(path)
    if not about.is_file():
        raise WeightsError(f"'{path.name}' lacks its side file '{about.name}'; convert it again")
    try:
        return WeightsInfo(**json.loads(about.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise WeightsError(
            f"side file '{about.name}' is damaged ({error}); convert again"
        ) from None


def open_verified(path: Path) -> tuple[WeightsInfo, Any]:
    """Check a weights file against its side file and open it for reading.

    Returns:
        The side file's content and an open `safetensors.safe_open` handle.

    Raises:
        WeightsError: The file is truncated, changed or not safetensors at all.
    """
    info = describe(path)
    if info.format != FORMAT:
        raise WeightsError(
            f"'{path.name}' is of format {info.format}, this version reads {FORMAT}; convert again"
        )
    if sha256_of(path) != info.sha256:
        raise WeightsError(
            f"'{path.name}' is truncated or changed (its SHA-256 differs from '"
            f"{side_file(path).name}'); copy or convert it again"
        )
    try:
        return info, safe_open(path, framework="pt")
    except SafetensorError as error:
        raise WeightsError(f"'{path.name}' is not a readable safetensors file ({error})") from None
