"""What moves: cars in their lanes, crossing traffic, riders and persons on the sidewalks."""

from __future__ import annotations

import math

import numpy as np

from occ_training.world import objects
from occ_training.world.classes import Class
from occ_training.world.config import Ranges
from occ_training.world.motion import STEP_S, Bodies, Drive, Limb, SpeedProfile
from occ_training.world.objects import PAINTS, Place, pick
from occ_training.world.plan import EGO_START_M, Plan
from occ_training.world.primitives import Builder
from occ_training.world.road import Strip


def steady(speed_mps: float) -> SpeedProfile:
    """Constant speed; way 0 at t = 0."""
    return SpeedProfile(0.0, np.array([0.0, speed_mps * STEP_S]), np.full(2, speed_mps))


class Traffic:
    """Adds moving bodies and their solids; every draw comes from the mover stream."""

    def __init__(
        self, plan: Plan, ego: Drive, bodies: Bodies, builder: Builder, rng: np.random.Generator,
        ranges: Ranges,
    ) -> None:  # fmt: skip
        self.plan, self.ego, self.bodies = plan, ego, bodies
        self.builder, self.rng, self.ranges = builder, rng, ranges
        self.main = plan.ground.strips[0]

    def build(self, duration_s: float) -> None:
        """Cars along, against and across the street, a rider, persons."""
        rng = self.rng
        if self.main.lanes >= 4 and rng.random() < 0.6:
            self._overtaking(float(rng.uniform(2.0, max(2.5, 0.7 * duration_s))))
        elif rng.random() < 0.7:
            self._in_lane(float(rng.uniform(14.0, 28.0)))
        fewest, most = self.ranges.oncoming
        nearest_m, gap_m = self.ranges.oncoming_gap_m
        for i in range(int(rng.integers(fewest, most + 1))):
            ahead_m = 18.0 + gap_m * i + float(rng.uniform(0.0, gap_m - nearest_m))
            self._oncoming(EGO_START_M + ahead_m)
        for strip, s in zip(self.plan.ground.strips[1:], self.plan.crossings, strict=True):
            self._crossing(strip, s)
        if rng.random() < 0.6:
            self._rider()
        for _ in range(int(rng.integers(1, 7))):
            self._walker()
        for i in range(self.ranges.convoy):
            self._in_lane(-12.0 - 14.0 * i)

    def _vehicle(self, drive: Drive, class_id: Class = Class.CAR) -> None:
        name, paint = pick(self.rng, PAINTS)
        body = self.bodies.add(drive)
        instance = self.builder.new_instance(class_id, name, body)
        place = Place(self.builder, body=body, instance=instance)
        if class_id == Class.CAR:
            objects.car(place, self.rng, paint)
        else:
            objects.truck(place, self.rng, paint, class_id)

    def _in_lane(self, gap: float) -> None:
        """A car that drives as the ego car does, that much in front of it."""
        self._vehicle(Drive(self.main.line, self.ego.start_m + gap, self.ego.offset_m, 1,
                            self.ego.profile))  # fmt: skip

    def _overtaking(self, at_s: float) -> None:
        """A car that is 4 m/s faster than the ego car, beside it at a time."""
        ego, gain = self.ego.profile, 4.0
        times = ego.start_s + STEP_S * np.arange(len(ego.way_m))
        profile = SpeedProfile(ego.start_s, ego.way_m + gain * (times - at_s), ego.speed_mps + gain)
        self._vehicle(Drive(self.main.line, self.ego.start_m, self.ego.offset_m, 1, profile,
                            overtake=(at_s, self.main.lane_m)))  # fmt: skip

    def _oncoming(self, start: float) -> None:
        lane = int(self.rng.integers(self.main.lanes // 2))
        d = (lane + 0.5) * self.main.lane_m + float(self.rng.normal(0, 0.1))
        class_id = Class(
            self.rng.choice(
                [Class.CAR, Class.TRUCK, Class.BUS, Class.TRAILER], p=[0.78, 0.12, 0.07, 0.03]
            )
        )
        self._vehicle(Drive(self.main.line, start, d, -1, steady(8.0)), class_id)

    def _crossing(self, strip: Strip, station: float) -> None:
        """Cars that are far from the crossing while the ego car is near it."""
        times = np.arange(-6.0, 40.0, 0.1)
        ego = self.ego.start_m + self.ego.profile.way(times)
        near = times[abs(ego - station) < 16.0]
        if near.size == 0:
            return
        for forward, at in ((1, near[0] - 3.5), (-1, near[-1] + 4.5)):
            speed = float(self.rng.uniform(5.0, 9.0))
            middle = 60.0  # station of the crossing on the crossing street
            drive = Drive(strip.line, middle - forward * speed * at, -forward * 0.5 * strip.lane_m,
                          forward, steady(speed))  # fmt: skip
            self._vehicle(drive)

    def _rider(self) -> None:
        rng = self.rng
        class_id = Class.BICYCLIST if rng.random() < 0.8 else Class.MOTORCYCLIST
        speed = float(rng.uniform(3.0, 5.5))
        start = EGO_START_M + float(rng.uniform(18.0, 45.0))
        drive = Drive(self.main.line, start, self.main.half_m - 0.45, -1, steady(speed),
                      wheelbase_m=0.5)  # fmt: skip
        body = self.bodies.add(drive)
        _name, paint = pick(rng, PAINTS)
        cloth_name, cloth = pick(rng, objects.CLOTHES)
        instance = self.builder.new_instance(class_id, cloth_name, body)
        place = Place(self.builder, body=body, instance=instance)
        objects.rider(place, float(rng.uniform(1.6, 1.9)), cloth, class_id, paint)

    def _walker(self) -> None:
        rng = self.rng
        side, forward = (1 if rng.random() < 0.5 else -1), (1 if rng.random() < 0.5 else -1)
        kerb = self.main.left_m if side > 0 else self.main.right_m
        d = kerb + side * float(rng.uniform(1.0, self.main.sidewalk_m - 0.2))
        speed = float(rng.uniform(0.8, 1.8))
        start = EGO_START_M + float(rng.uniform(4.0, 45.0))
        drive = Drive(self.main.line, start, d, forward, steady(speed), wheelbase_m=0.3)
        body = self.bodies.add(drive)
        instance = self.builder.new_instance(Class.PERSON, "", body)
        height, name, trousers = objects.person(
            Place(self.builder, body=body, instance=instance), rng
        )
        self.builder.instances[-1]["color"] = name
        rate = speed / (0.8 * height)
        for side_of in (-1, 1):
            hip = (0.0, 0.0, 0.84 * height / 1.75)
            limb = self.bodies.add(Limb(body, hip, rate, math.pi * (side_of > 0)))
            place = Place(self.builder, body=limb, instance=instance)
            objects.leg(place, height, trousers, side_of, Class.PERSON)
