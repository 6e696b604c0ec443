"""Timers that go on while /clock stands still, as it does when a player waits for the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType


def wall_timer(node: Any, period_s: float, callback: Callable[[], None]) -> Any:
    """Call back every `period_s` seconds of wall time, whatever `use_sim_time` says."""
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))
