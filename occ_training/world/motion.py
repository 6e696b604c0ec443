"""Poses of everything at any time: one continuous trajectory per body."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from occ_training.world.road import CenterLine, Ground

Poses = npt.NDArray[np.float64]
Times = npt.NDArray[np.float64]

STEP_S = 0.02
_HALF_WHEELBASE_M = 1.35


@dataclass(frozen=True, eq=False)
class SpeedProfile:
    """Way driven over time: cubic between samples of an integrated speed, so C1 everywhere.

    Attributes:
        start_s: Time of the first sample.
        way_m: `[n]` way at the samples, every 20 ms.
        speed_mps: `[n]` speed at the samples.
    """

    start_s: float
    way_m: npt.NDArray[np.float64]
    speed_mps: npt.NDArray[np.float64]

    def way(self, t: Times) -> npt.NDArray[np.float64]:
        """Way at times; constant speed outside the table."""
        u = (np.asarray(t, dtype=np.float64) - self.start_s) / STEP_S
        i = np.clip(np.floor(u).astype(np.int64), 0, len(self.way_m) - 2)
        f = np.clip(u - i, 0.0, 1.0)
        a, b = self.way_m[i], self.way_m[i + 1]
        va, vb = self.speed_mps[i] * STEP_S, self.speed_mps[i + 1] * STEP_S
        f2, f3 = f * f, f * f * f
        inside = (
            (2 * f3 - 3 * f2 + 1) * a
            + (f3 - 2 * f2 + f) * va
            + (3 * f2 - 2 * f3) * b
            + (f3 - f2) * vb
        )
        return inside + (u - i - f) * np.where(u < 0, va, vb)


def speed_profile(
    rng: np.random.Generator, cruise_mps: float, duration_s: float, stop_at_s: float | None
) -> SpeedProfile:
    """Cruising with slow changes and, where asked, one stop of two seconds.

    The table starts 8 s before t = 0: sensed truth also uses the drive up to the scene.
    """
    t = np.arange(-8.0, duration_s + 8.0, STEP_S)
    phase = rng.uniform(0.0, 2 * math.pi, 2)
    v = cruise_mps * (
        0.92 + 0.05 * np.sin(2 * math.pi * t / 7.3 + phase[0])
        + 0.03 * np.sin(2 * math.pi * t / 3.1 + phase[1])
    )  # fmt: skip
    if stop_at_s is not None:
        ramp = np.clip((abs(t - stop_at_s) - 1.0) / 3.0, 0.0, 1.0)
        v = v * ramp * ramp * (3 - 2 * ramp)
    way = np.concatenate(([0.0], np.cumsum(0.5 * (v[1:] + v[:-1]) * STEP_S)))
    return SpeedProfile(float(t[0]), way, v)


@dataclass(frozen=True, eq=False)
class Drive:
    """Movement along a street.

    Attributes:
        line: Centre line that is followed.
        start_m: Station at way 0.
        offset_m: Lateral offset (left positive).
        forward: +1 along the line, -1 against it.
        profile: Way over time.
        overtake: Time and sideways metres of a lane change and back, or None.
        swing: Amplitudes of pitch and roll (radians) and heave (metres) of the body.
        phase: Phase of the swing.
        weave_m: Amplitude of a triangle wave of 0.2 s period across the street.
        wheelbase_m: Half distance of the axles: the heading is their chord, so that the yaw rate
            is continuous where a straight meets an arc.
    """

    line: CenterLine
    start_m: float
    offset_m: float
    forward: int
    profile: SpeedProfile
    overtake: tuple[float, float] | None = None
    swing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    phase: float = 0.0
    weave_m: float = 0.0
    wheelbase_m: float = _HALF_WHEELBASE_M

    def poses(self, ground: Ground, t: Times) -> Poses:
        """`[..., 4, 4]` pose of the ground point below the object."""
        s = self.start_m + self.forward * self.profile.way(t)
        d = self._offset(t)
        h = self.forward * self.wheelbase_m
        x0, y0, _ = self.line.point(s - h, d)
        x1, y1, _ = self.line.point(s + h, d)
        x, y, _ = self.line.point(s, d)
        yaw = np.arctan2(y1 - y0, x1 - x0)
        z, _ = ground.height(x, y)
        w = 2 * math.pi * np.asarray(t)
        pitch_a, roll_a, heave_a = self.swing
        c, sn = np.cos(yaw), np.sin(yaw)
        slope_x = ground.long_wave(x + c, y + sn) - ground.long_wave(x - c, y - sn)
        slope_y = ground.long_wave(x - sn, y + c) - ground.long_wave(x + sn, y - c)
        pitch = pitch_a * np.sin(1.3 * w + self.phase) - np.arctan(slope_x / 2)
        roll = roll_a * np.sin(0.9 * w + 2 * self.phase) + np.arctan(slope_y / 2)
        z = z + heave_a * np.sin(1.7 * w + 3 * self.phase)
        return rigid(x, y, z, roll, pitch, yaw)

    def _offset(self, t: Times) -> npt.NDArray[np.float64]:
        t = np.asarray(t, dtype=np.float64)
        d = np.full(t.shape, self.offset_m)
        if self.overtake is not None:
            at, by = self.overtake
            ramp = np.clip((2.5 - abs(t - at)) / 1.5, 0.0, 1.0)
            d = d + by * ramp * ramp * (3 - 2 * ramp)
        if self.weave_m:
            d = d + self.weave_m * (2 * abs(2 * (t / 0.2 - np.floor(t / 0.2)) - 1) - 1)
        return d


@dataclass(frozen=True, eq=False)
class Limb:
    """A leg that swings about the hip of another body.

    Attributes:
        parent: Index of the body.
        hip: Position of the hip in the parent's frame.
        rate_hz: Steps per second, 0 for standing.
        phase: 0 or pi for the two legs.
    """

    parent: int
    hip: tuple[float, float, float]
    rate_hz: float
    phase: float

    def poses(self, parent: Poses, t: Times) -> Poses:
        """`[..., 4, 4]` pose of the hip's frame in the world, from the parent's."""
        angle = 0.45 * np.sin(2 * math.pi * self.rate_hz * np.asarray(t) + self.phase)
        if self.rate_hz == 0:
            angle = np.zeros_like(angle)
        zero = np.zeros_like(angle)
        x, y, z = self.hip
        return parent @ rigid(zero + x, zero + y, zero + z, zero, angle, zero)


@dataclass(eq=False)
class Bodies:
    """All moving things of a scene; index 0 is the world itself, 1 the ego car.

    Attributes:
        ground: Height field they stand on.
        moves: One movement per body from index 1 on.
    """

    ground: Ground
    moves: list[Drive | Limb] = field(default_factory=list)

    def add(self, move: Drive | Limb) -> int:
        """Add a body and return its index."""
        self.moves.append(move)
        return len(self.moves)

    def __len__(self) -> int:
        """Number of bodies with the world."""
        return len(self.moves) + 1

    def pose(self, body: int, t: Times) -> Poses:
        """`[..., 4, 4]` pose of a body at times."""
        t = np.asarray(t, dtype=np.float64)
        if body == 0:
            return np.broadcast_to(np.eye(4), (*t.shape, 4, 4))
        move = self.moves[body - 1]
        if isinstance(move, Limb):
            return move.poses(self.pose(move.parent, t), t)
        return move.poses(self.ground, t)

    def poses(self, t: float) -> Poses:
        """`[B, 4, 4]` poses of all bodies at one time."""
        return np.stack([self.pose(b, np.float64(t)) for b in range(len(self))])


def rigid(x, y, z, roll, pitch, yaw) -> Poses:
    """Poses `[..., 4, 4]` from arrays; rotations about fixed x, then y, then z."""
    (cr, sr), (cp, sp), (cy, sy) = ((np.cos(a), np.sin(a)) for a in (roll, pitch, yaw))
    zero, one = np.zeros_like(cy), np.ones_like(cy)
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x + zero),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y + zero),
        (-sp + zero, cp * sr, cp * cr, z + zero),
        (zero, zero, zero, one),
    )
    return np.stack([np.stack(np.broadcast_arrays(*row), -1) for row in rows], -2)
