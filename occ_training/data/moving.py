"""Trees of tensors, such as batches are, on another device."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import torch
from torch import Tensor

Tree = TypeVar("Tree")


def moved(tree: Tree, device: torch.device, but: Collection[str] = ()) -> Tree:
    """The same tree with its tensors on another device.

    Args:
        tree: A tensor, or (named) tuples of trees; everything else stays as it is.
        device: Where to.
        but: Fields of named tuples that stay, such as a calibration that is checked on the CPU.
    """
    return _moved(tree, device, but)


def _moved(tree: Any, device: torch.device, but: Collection[str]) -> Any:
    if isinstance(tree, Tensor):
        return tree.to(device, non_blocking=True)
    if not isinstance(tree, tuple):
        return tree
    names = getattr(tree, "_fields", None)
    if names is None:
        return tuple(_moved(part, device, but) for part in tree)
    parts = zip(names, tree, strict=True)
    return type(tree)(*(part if n in but else _moved(part, device, but) for n, part in parts))
