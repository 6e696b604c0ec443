"""The node's health on /diagnostics, once a second. Messages are built without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from occ_perception.ros.messages import set_header
from occ_perception.runtime.profiler import Profiler

OK, WARN, ERROR, STALE = (bytes([level]) for level in range(4))
_SILENT_S = 3.0


@dataclass(frozen=True)
class InputHealth:
    """One image topic.

    Attributes:
        topic: Resolved name.
        rate_hz: Mean rate of the last images.
        age_s: Time since the newest image, None before the first.
    """

    topic: str
    rate_hz: float
    age_s: float | None

    @property
    def is_silent(self) -> bool:
        """Nothing came for a while."""
        return self.age_s is None or self.age_s > _SILENT_S


@dataclass(frozen=True)
class Health:
    """What the diagnostics tell.

    Attributes:
        state: Lifecycle state.
        device: Where the network runs.
        weights: Name of the weights, or a warning that they are random.
        has_random_weights: The grids mean nothing.
        crashes: Unexpected errors so far.
        last_drop: Why the newest set was dropped.
        inputs: By role.
    """

    state: str
    device: str = ""
    weights: str = ""
    has_random_weights: bool = False
    crashes: int = 0
    last_drop: str = ""
    inputs: Mapping[str, InputHealth] = field(default_factory=dict)


def judge(health: Health, profiler: Profiler) -> tuple[bytes, str]:
    """Level and one sentence."""
    if health.state != "active":
        return OK, health.state
    silent = [item.topic for item in health.inputs.values() if item.is_silent]
    if silent:
        return STALE, f"no images on {', '.join(silent)}"
    if health.crashes:
        return ERROR, f"{health.crashes} unexpected errors, the last: {health.last_drop}"
    if health.has_random_weights:
        return WARN, "the weights are RANDOM, the grids mean nothing"
    if health.last_drop:
        dropped = sum(profiler.drops().values())
        return WARN, f"{dropped} sets dropped, the last: {health.last_drop}"
    return OK, f"{profiler.published} sets published"


def diagnostic_array(
    types: Any, time_ns: int, name: str, health: Health, profiler: Profiler
) -> Any:
    """diagnostic_msgs/DiagnosticArray with one status for the node."""
    level, sentence = judge(health, profiler)
    values = {
        "state": health.state,
        "device": health.device,
        "weights": health.weights,
        "sets formed": str(profiler.formed),
        "sets published": str(profiler.published),
        **_input_values(health),
        **{f"dropped, {reason}": str(n) for reason, n in sorted(profiler.drops().items())},
        **{
            f"{stage} mean / p99 [ms]": f"{1e3 * s.mean_s:.1f} / {1e3 * s.p99_s:.1f}"
            for stage, s in profiler.summary().items()
        },
        **_memory_values(health.device),
    }
    status = types.DiagnosticStatus(level=level, name=name, message=sentence, hardware_id="")
    status.values = [types.KeyValue(key=key, value=value) for key, value in values.items()]
    array = types.DiagnosticArray(status=[status])
    set_header(array.header, time_ns, "")
    return array


def _input_values(health: Health) -> dict[str, str]:
    values = {}
    for role, item in health.inputs.items():
        age = "none yet" if item.age_s is None else f"{item.age_s:.2f}"
        values[f"{role} topic"] = item.topic
        values[f"{role} rate [Hz]"] = f"{item.rate_hz:.2f}"
        values[f"{role} age [s]"] = age
    return values


def _memory_values(device: str) -> dict[str, str]:
    if not device.startswith("cuda"):
        return {}
    used, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
    return {"GPU memory now / peak [MiB]": f"{used / 2**20:.0f} / {peak / 2**20:.0f}"}
