"""Whether a frame set continues the one before, so that a system may use its history."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from occ_perception.systems.base import Concern, Context

_LONGEST_GAP_S = 2.0  # key frames were half a second apart in training
_FASTEST_MPS = 70.0  # no vehicle; an estimate that was corrected, or another map


class Continuity:
    """Compares stamps and poses of the frame sets of a stream.

    Attributes:
        concerns: Newest breaks that a user should know of.
    """

    def __init__(self) -> None:
        self.concerns: deque[Concern] = deque(maxlen=10)
        self._last: Context | None = None

    def reset(self) -> None:
        """The next frame set is the first of a scene."""
        self._last = None

    def continues(self, context: Context) -> bool:
        """Whether history may be used with this frame set, which is the last one from now on.

        It may not where the pose is unknown now or was before, after a step back or a long gap in
        time, and where the vehicle would have moved faster than any does.
        """
        last, self._last = self._last, context
        if last is None or last.T_world_base is None or context.T_world_base is None:
            return False
        gap_s = (context.stamp_ns - last.stamp_ns) / 1e9
        if not 0 < gap_s <= _LONGEST_GAP_S:
            return False
        moved_m = _distance_m(last.T_world_base, context.T_world_base)
        if moved_m > _FASTEST_MPS * gap_s:
            self.concerns.append(
                Concern(
                    f"the pose jumped by {moved_m:.1f} m within {gap_s:.2f} s: history begins "
                    "anew; give the system smooth odometry, not a corrected map pose"
                )
            )
            return False
        return True


def _distance_m(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
