"""The rule by which both sides of a parity case rebuild the same weights from names and shapes.

The leaf of a name decides the distribution; `n` is standard normal from a generator seeded by
`crc32(salt:name)`:

    running_var                      1 + 0.1 |n|
    running_mean, *bias              0.1 n
    num_batches_tracked              0 (int64)
    1-D *weight, *gamma              1 + 0.1 n
    everything else                  n / sqrt(fan_in), fan_in = prod(shape[1:])
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def fill_tensor(name: str, shape: Sequence[int], salt: str) -> npt.NDArray[np.generic]:
    """The tensor of one checkpoint entry: float32, int64 zeros for counters."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    seed = zlib.crc32(f"{salt}:{name}".encode())
    normal = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape))
    if leaf == "running_var":
        values = 1.0 + 0.1 * np.abs(normal)
    elif leaf.endswith("bias") or leaf == "running_mean":
        values = 0.1 * normal
    elif len(shape) <= 1 and leaf.endswith(("weight", "gamma")):
        values = 1.0 + 0.1 * normal
    else:
        values = normal / math.sqrt(max(math.prod(shape[1:]), 1))
    return np.asarray(values, dtype=np.float32)
