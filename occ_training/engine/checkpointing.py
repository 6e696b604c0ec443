"""Checkpoints that survive anything: whole or not there, verified when they are read.

A checkpoint is a folder `step_00001234` with `model.safetensors`, `ema.safetensors` where there is
an average, `training.pt` (optimiser, random states), `config.json` and `state.json`. It is written
under a hidden name, flushed to the disk and renamed; `last` and `best` are links.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from occ_perception.core.errors import OccError

LAST, BEST, PREFIX = "last", "best", "step_"
MODEL, EMA, TRAINING, STATE, CONFIG = (
    "model.safetensors", "ema.safetensors", "training.pt", "state.json", "config.json",
)  # fmt: skip


class CheckpointError(OccError):
    """A checkpoint cannot be written, read or continued from."""

    reason = "bad checkpoint"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything a training is.

    Attributes:
        step: Changes of the weights so far.
        model: State of the network.
        training: Optimiser, random states and the like; plain values and tensors only.
        state: Position in the data, counts, scores; goes into a JSON file.
        config: Resolved configuration of the run.
        ema: Averaged state of the network, if there is an average.
    """

    step: int
    model: Mapping[str, Tensor]
    training: Mapping[str, Any]
    state: Mapping[str, Any]
    config: Mapping[str, Any]
    ema: Mapping[str, Tensor] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        root: Folder of the run; it is made.
        keep: How many checkpoints stay; `best` stays in any case.
    """

    def __init__(self, root: Path, keep: int = 3) -> None:
        self.root, self.keep = root, max(keep, 1)

    def save(self, checkpoint: Checkpoint, *, best: bool = False) -> Path:
        """Write a checkpoint; older ones are removed only after it is safely there.

        Raises:
            CheckpointError: The disk is full or cannot be written to; what was there stays.
        """
        target = self.root / f"{PREFIX}{checkpoint.step:08d}"
        with _disk_errors_reported(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=self.root))
            hidden.chmod(0o755)  # others may read a run; temporary folders are private
            try:
                _write(hidden, checkpoint)
                _replace_folder(hidden, target)
            except BaseException:
                shutil.rmtree(hidden, ignore_errors=True)
                raise
            _link(self.root / LAST, target.name)
            if best:
                _link(self.root / BEST, target.name)
        self._tidy()
        return target

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, None if there is none at all.

        Raises:
            CheckpointError: There are checkpoints, but none can be read.
        """
        failures = []
        for path in sorted(self._all(), reverse=True):
            try:
                return read_checkpoint(path)
            except CheckpointError as error:
                failures.append(str(error))
        if failures:
            raise CheckpointError(f"no checkpoint in '{self.root}' can be read: {failures[0]}")
        return None

    def _all(self) -> list[Path]:
        return [p for p in self.root.glob(f"{PREFIX}*") if p.is_dir()]

    def _tidy(self) -> None:
        """Remove old checkpoints, and what a killed run has left half written."""
        kept = {os.path.realpath(self.root / BEST)}
        for path in sorted(self._all())[: -self.keep]:
            if os.path.realpath(path) not in kept:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(f".{PREFIX}*.partial-*"):
            shutil.rmtree(path, ignore_errors=True)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint folder; nothing in it is run.

    Raises:
        CheckpointError: A file is missing, cut off or changed.
    """
    try:
        state = json.loads((path / STATE).read_text("utf-8"))
        for name, size in state["files"].items():
            if (path / name).stat().st_size != size:
                raise CheckpointError(f"checkpoint '{path}' is damaged: {name} is cut off")
        return Checkpoint(
            step=state["step"],
            model=load_file(path / MODEL),
            training=torch.load(path / TRAINING, map_location="cpu", weights_only=True),
            state=state["state"],
            config=json.loads((path / CONFIG).read_text("utf-8")),
            ema=load_file(path / EMA) if EMA in state["files"] else {},
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, pickle.PickleError) as e:
        raise CheckpointError(f"checkpoint '{path}' is damaged or no checkpoint ({e})") from None


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    _save_tensors(checkpoint.model, folder / MODEL)
    if checkpoint.ema:
        _save_tensors(checkpoint.ema, folder / EMA)
    torch.save(dict(checkpoint.training), folder / TRAINING)
    config = json.dumps(checkpoint.config, indent=2)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    state = {"step": checkpoint.step, "state": dict(checkpoint.state), "files": files}
    (folder / STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _flush(path)


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    # Own memory for each: networks may share or stride theirs, the format may not.
    owned = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    save_file(owned, path)


def _replace_folder(hidden: Path, target: Path) -> None:
    """Rename into place; a folder of the same step (a run that was rewound) makes room first."""
    if target.exists():
        target.rename(hidden.with_name(f"{hidden.name}-old"))
    hidden.rename(target)
    _flush(target.parent)


def _link(link: Path, target: str) -> None:
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors_reported(root: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch and safetensors wrap the system's error, so that only its words are left.
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        reason = "the disk is full" if full else f"it cannot be written ({error})"
        raise CheckpointError(
            f"no checkpoint in '{root}': {reason}; earlier ones are untouched, free some space and "
            "resume"
        ) from error
