"""Networks of the `transformers` library: from a folder on this machine, weights as safetensors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from occ_perception.core.errors import ConfigError

_SAMPLES = 16  # values per tensor that make the fingerprint


def load_pretrained(kind: str, name: str, *, download: bool = False) -> Any:
    """A network, processor or tokenizer.

    Nothing but safetensors is read, and no code of the model's own is run.

    Args:
        kind: Class of `transformers`, e.g. "AutoModelForDepthEstimation".
        name: Folder, or name on the hub of a model that was downloaded before.
        download: Ask the hub for what is not on this machine.

    Raises:
        ConfigError: transformers is not installed, or the model is not on this machine or is no
            such model.
    """
    try:
        import transformers
    except ImportError:
        raise ConfigError(
            "this teacher needs the package transformers; install it with pip install transformers"
        ) from None
    options: dict[str, Any] = {"local_files_only": not download, "trust_remote_code": False}
    if "Model" in kind or "For" in kind:
        options["use_safetensors"] = True
    try:
        return getattr(transformers, kind).from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as error:
        where = "folder" if Path(name).exists() else "model"
        cure = "" if download else ", or allow --download"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{where} '{name}' holds no {kind} that can be used ({reason}); give a folder with "
            f"config.json and model.safetensors{cure}"
        ) from None


def fingerprint(network: nn.Module) -> str:
    """Short hash of names, shapes and some values of the weights: another model has another one."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        flat = tensor.detach().flatten()
        step = max(1, flat.numel() // _SAMPLES)
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(flat[::step][:_SAMPLES].to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()[:12]


def frozen(network: nn.Module, device: torch.device | str) -> nn.Module:
    """For answering only."""
    return network.eval().requires_grad_(False).to(device)
