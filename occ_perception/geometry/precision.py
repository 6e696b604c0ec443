"""Where mixed precision must not reach: metres in bfloat16 are decimetres."""

from __future__ import annotations

import torch
from torch import Tensor


def single_precision(like: Tensor) -> torch.autocast:
    """Context without mixed precision on the device of a tensor."""
    return torch.autocast(like.device.type, enabled=False)
