"""One implementation for NumPy and torch: the few places where the two libraries differ."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

# A NumPy array or a torch tensor; both follow the array API closely enough for this package.
Array = Any
Vector3 = tuple[Array, Array, Array]


@dataclass(frozen=True)
class Backend:
    """Where arrays live: NumPy on the host (the reference) or torch on a device.

    Attributes:
        xp: The array namespace, `numpy` or `torch`.
        device: Torch device, None for NumPy.
    """

    xp: ModuleType
    device: str | None = None

    def array(self, values: Any, dtype: str | None = None) -> Array:
        """Bring host values here, optionally as another dtype such as "float32"."""
        host = np.asarray(values) if dtype is None else np.asarray(values, dtype=dtype)
        if self.xp is np:
            return host
        return torch.from_numpy(np.ascontiguousarray(host)).to(self.device)


NUMPY = Backend(np)


def torch_backend(device: str = "cpu") -> Backend:
    """The torch twin on a device."""
    return Backend(torch, device)


def namespace(array: Array) -> ModuleType:
    """`torch` for a tensor, else `numpy`."""
    return torch if isinstance(array, torch.Tensor) else np


def cast(array: Array, dtype: str) -> Array:
    """Convert the dtype, e.g. "float32"."""
    if isinstance(array, torch.Tensor):
        return array.to(getattr(torch, dtype))
    return np.asarray(array).astype(dtype, copy=False)


def to_numpy(array: Array) -> np.ndarray:
    """Bring an array to the host."""
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def on_device(array: Array) -> dict[str, Any]:
    """Arguments that make a new array live where another does."""
    return {"device": array.device} if isinstance(array, torch.Tensor) else {}


def dot(a: Vector3, b: Vector3) -> Array:
    """Scalar product of vectors kept as three arrays (faster than a trailing axis of 3)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def rotate(R: Any, v: Vector3) -> Vector3:
    """Rotate `v` by `R[i][j]`, entries scalar or broadcastable to `v`."""
    x, y, z = v
    return tuple(R[i][0] * x + R[i][1] * y + R[i][2] * z for i in range(3))  # type: ignore[return-value]


def along(origin: Vector3, direction: Vector3, t: Array) -> Vector3:
    """Points at distance `t` on rays."""
    return (
        origin[0] + t * direction[0],
        origin[1] + t * direction[1],
        origin[2] + t * direction[2],
    )


def norm(v: Vector3) -> Array:
    """Length of vectors."""
    return namespace(v[0]).sqrt(dot(v, v))
