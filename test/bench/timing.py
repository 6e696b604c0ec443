"""Times of single steps, for the measurements beside."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

REPEATS = {"cuda": 50, "cpu": 2}


def milliseconds(device: torch.device, step: Callable[[], object]) -> float:
    """Time of a step, the best of some, after one to warm up."""
    best = float("inf")
    for number in range(REPEATS[device.type] + 1):
        begin = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number:
            best = min(best, time.perf_counter() - begin)
    return 1000 * best
