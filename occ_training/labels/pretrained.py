"""Teachers of the `transformers` library: loaded from this machine, frozen, told apart."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from occ_perception.blocks import pretrained

_SAMPLES = 16  # values per tensor that make the fingerprint


def load_pretrained(kind: str, name: str, *, download: bool = False) -> Any:
    """A network, processor or tokenizer of a teacher.

    Args:
        kind: Class of `transformers`.
        name: Folder, or name on the hub.
        download: Ask the hub for what is not on this machine.

    Raises:
        ConfigError: It is not on this machine, or is no such model.
    """
    hint = "" if download else ", or allow --download"
    return pretrained.load_pretrained(kind, name, download=download, hint=hint)


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
