"""Plan of a scene's streets: centre lines, lanes, crossings, ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from occ_training.world.config import Range, Ranges
from occ_training.world.road import CenterLine, Ground, Strip

EGO_START_M = 75.0  # station of the ego car at t = 0: there is a street behind it, too
AHEAD_M = 95.0
CROSS_HALF_LENGTH_M = 60.0


@dataclass(frozen=True)
class Plan:
    """The ground and where things may stand.

    Attributes:
        ground: Height field with its strips.
        length_m: Stations 0..length of the main street are furnished.
        crossings: Station on the main street of every further strip.
        road_works: Whether there are road works.
        setback_m: Interval of the distance from kerb to facade.
    """

    ground: Ground
    length_m: float
    crossings: tuple[float, ...]
    road_works: bool
    setback_m: Range


def _between(rng: np.random.Generator, interval: tuple[float, float]) -> float:
    return float(rng.uniform(*interval))


def draw_plan(
    rng: np.random.Generator, ranges: Ranges, drive_m: float, stop_m: float | None
) -> Plan:
    """Draw streets and ground.

    Args:
        rng: The scene's layout stream.
        ranges: Intervals to draw from.
        drive_m: Way of the ego car in the scene.
        stop_m: Station where the ego car stops, or None; a crossing is put in front of it.
    """
    line = _center_line(rng, ranges)
    lanes = int(rng.choice([n for n in range(ranges.lanes[0], ranges.lanes[1] + 1) if n % 2 == 0]))
    parking = [
        _between(rng, (2.0, 2.3)) if rng.random() < (0.75 if lanes == 2 else 0.35) else 0.0
        for _ in range(2)
    ]
    if lanes == 2 and not any(parking):
        parking[int(rng.integers(2))] = 2.1
    main = Strip(line, lanes, _between(rng, ranges.lane_width_m), parking[0], parking[1],
                 _between(rng, ranges.sidewalk_m),
                 1.2 if lanes >= 4 and rng.random() < 0.3 else 0.0)  # fmt: skip
    places = [stop_m + 9.0] if stop_m is not None and stop_m < line.straight_m - 12.0 else []
    if not places:
        places = [_between(rng, (EGO_START_M + 22.0, line.straight_m - 12.0))]
    after = line.straight_m + line.arc_m + _between(rng, (30.0, 60.0))
    if after < EGO_START_M + drive_m + AHEAD_M:
        places.append(after)
    strips = [main, *(_cross(rng, main, s) for s in places)]
    ground = _ground(rng, ranges, tuple(strips))
    works = bool(rng.random() < ranges.road_work_share)
    return Plan(ground, EGO_START_M + drive_m + AHEAD_M, tuple(places), works, ranges.setback_m)


def _center_line(rng: np.random.Generator, ranges: Ranges) -> CenterLine:
    """A straight on which the ego car starts, one curve, and a straight to the end."""
    straight = EGO_START_M + _between(rng, (45.0, 85.0))
    radius = _between(rng, ranges.radius_m)
    turn = _between(rng, (0.25, 0.9)) * (1 if rng.random() < 0.5 else -1)
    heading = float(rng.uniform(-math.pi, math.pi))
    start = (-EGO_START_M * math.cos(heading), -EGO_START_M * math.sin(heading))
    curvature = math.copysign(1.0 / radius, turn)
    return CenterLine(start, heading, straight, curvature, abs(turn) * radius)


def _cross(rng: np.random.Generator, main: Strip, station: float) -> Strip:
    x, y, heading = main.line.point(np.float64(station), np.float64(0.0))
    across = float(heading) + math.pi / 2 + float(rng.uniform(-0.12, 0.12))
    start = (float(x) - CROSS_HALF_LENGTH_M * math.cos(across),
             float(y) - CROSS_HALF_LENGTH_M * math.sin(across))  # fmt: skip
    return Strip(CenterLine(start, across), 2, main.lane_m, sidewalk_m=main.sidewalk_m)


def _ground(rng: np.random.Generator, ranges: Ranges, strips: tuple[Strip, ...]) -> Ground:
    length, direction = _between(rng, (180.0, 320.0)), _between(rng, (0.0, 2 * math.pi))
    k = 2 * math.pi / length
    amplitude = _between(rng, ranges.grade) / k
    wave = (k * math.cos(direction), k * math.sin(direction), _between(rng, (0.0, 2 * math.pi)))
    return Ground(strips, amplitude, wave, (_between(rng, (0, 6.0)), _between(rng, (0, 6.0))))
