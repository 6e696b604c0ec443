"""What stands along the streets: kerbs, houses, greens, parked vehicles, poles, road works."""

from __future__ import annotations

import math

import numpy as np

from occ_training.world import objects
from occ_training.world.classes import Class
from occ_training.world.objects import PAINTS, Place, pick
from occ_training.world.plan import CROSS_HALF_LENGTH_M, EGO_START_M, Plan
from occ_training.world.primitives import Builder, Kind, Material
from occ_training.world.road import KERB_HEIGHT_M, Strip


class Furnisher:
    """Puts solids along the strips; every draw comes from the layout stream."""

    def __init__(self, plan: Plan, builder: Builder, rng: np.random.Generator) -> None:
        self.plan, self.builder, self.rng = plan, builder, rng
        self.ground = plan.ground

    def build(self) -> None:
        """Kerbs, houses, greens, parked vehicles, poles, road works."""
        main = self.ground.strips[0]
        for side in (-1, 1):
            free = [
                (s - c.half_m - main.sidewalk_m - 1.0, s + c.half_m + main.sidewalk_m + 1.0)
                for s, c in zip(self.plan.crossings, self.ground.strips[1:], strict=True)
            ]
            for a, b in _gaps(0.0, self.plan.length_m, free):
                self._side(main, side, a, b)
        half = CROSS_HALF_LENGTH_M
        keep = max(main.left_m, -main.right_m) + main.sidewalk_m + 1.0
        for strip in self.ground.strips[1:]:
            for side in (-1, 1):
                for a, b in _gaps(0.0, 2 * half, [(half - keep, half + keep)]):
                    self._side(strip, side, a, b, dense=False)
        for s, strip in zip(self.plan.crossings, self.ground.strips[1:], strict=True):
            self._corners(main, strip, s)
        if self.plan.road_works:
            self._road_works(main)

    def place(
        self, strip: Strip, s: float, d: float, turn: float = 0.0, instance: int = 0
    ) -> Place:
        """A place on the ground beside a strip, heading along it plus `turn`."""
        x, y, heading = strip.line.point(np.float64(s), np.float64(d))
        z, _ = self.ground.height(x, y)
        origin = (float(x), float(y), float(z))
        return Place(self.builder, origin, float(heading) + turn, 0, instance)

    def _clear(self, strip: Strip, s: float, d: float, margin: float) -> bool:
        """Whether a point is at least `margin` off every carriageway."""
        x, y, _ = strip.line.point(np.float64(s), np.float64(d))
        return bool(self.ground.outside(self.ground.laterals(x, y)) >= margin)

    def _side(self, strip: Strip, side: int, a: float, b: float, dense: bool = True) -> None:
        kerb = strip.left_m if side > 0 else strip.right_m
        self._kerb(strip, side, kerb, a, b)
        self._houses(strip, side, kerb, a, b)
        self._greens(strip, side, kerb, a, b)
        self._poles(strip, side, kerb, a, b)
        parking = strip.parking_left_m if side > 0 else strip.parking_right_m
        if parking and dense:
            self._parked(strip, side, kerb - side * parking / 2, a, b)
        elif dense and self.rng.random() < 0.5:
            self._small_things(strip, side, kerb, a, b)

    def _kerb(self, strip: Strip, side: int, kerb: float, a: float, b: float) -> None:
        line, s = strip.line, a
        while s < b - 0.05:
            curved = line.straight_m - 6.0 < s < line.straight_m + line.arc_m
            step = min(b - s, 2.0 if line.curvature and curved else 6.0)
            d = kerb + side * 0.075
            x, y, _ = line.point(np.array([s, s + step]), np.array([d, d]))
            z = self.ground.raised_height(x, y)
            yaw = math.atan2(y[1] - y[0], x[1] - x[0])
            pitch = -math.atan2(z[1] - z[0], step)
            half_height = KERB_HEIGHT_M
            center = (float(x.mean()), float(y.mean()), float(z.mean()) - half_height + 0.004)
            self.builder.add(
                Kind.BOX, center, (0.5 * step + 0.02, 0.085, half_height), Class.SIDEWALK,
                Material.CONCRETE, (0.52, 0.51, 0.49), (0.0, pitch, yaw),
            )  # fmt: skip
            s += step

    def _houses(self, strip: Strip, side: int, kerb: float, a: float, b: float) -> None:
        rng, s = self.rng, a + float(self.rng.uniform(0.0, 3.0))
        setback = max(float(rng.uniform(*self.plan.setback_m)), strip.sidewalk_m + 0.5)
        while s < b - 7.0:
            length = min(float(rng.uniform(8.0, 18.0)), b - s)
            front = kerb + side * setback
            corners = [(u, front + side * v) for u in (s, s + length) for v in (0.0, 8.0)]
            if all(self._clear(strip, u, d, strip.sidewalk_m + 0.4) for u, d in corners):
                # The front is the object's -y face: turned towards the street on either side.
                place = self.place(strip, s + length / 2, front, 0.0 if side > 0 else math.pi)
                objects.building(place, rng, length)
            s += length + (float(rng.uniform(1.0, 6.0)) if rng.random() < 0.4 else 0.02)

    def _greens(self, strip: Strip, side: int, kerb: float, a: float, b: float) -> None:
        rng, s = self.rng, a + float(self.rng.uniform(2.0, 6.0))
        while s < b - 2.0:
            d = kerb + side * float(rng.uniform(0.5, 0.8))
            if rng.random() < 0.55 and self._clear(strip, s, d, 0.4):
                objects.tree(self.place(strip, s, d), rng)
            s += float(rng.uniform(7.0, 15.0))
        s = a + float(rng.uniform(0.0, 5.0))
        back = kerb + side * (strip.sidewalk_m + 0.25)
        while s < b - 4.0:
            length = float(rng.choice([4.0, 6.0]))
            if self._clear(strip, s, back, 0.3) and self._clear(strip, s + length, back, 0.3):
                self._border(self.place(strip, s + length / 2, back), length)
            s += length + float(rng.uniform(0.0, 7.0))

    def _border(self, place: Place, length: float) -> None:
        choice = self.rng.random()
        height = float(self.rng.uniform(0.8, 1.5))
        if choice < 0.45:
            objects.hedge(place, self.rng, length)
        elif choice < 0.7:
            objects.picket_fence(place, length, height)
        elif choice < 0.88:
            objects.wall(place, self.rng, length, height)

    def _poles(self, strip: Strip, side: int, kerb: float, a: float, b: float) -> None:
        rng, s = self.rng, a + float(self.rng.uniform(1.0, 10.0))
        toward = -side * math.pi / 2
        while s < b:
            d = kerb + side * 0.45
            if rng.random() < 0.55:
                objects.pole(self.place(strip, s, d, toward), rng)
            else:
                # Signs face the traffic on their side: forward on the right, back on the left.
                objects.sign(self.place(strip, s, d, 0.0 if side < 0 else math.pi), rng)
            s += float(rng.uniform(11.0, 24.0))

    def _parked(self, strip: Strip, side: int, d: float, a: float, b: float) -> None:
        rng, s = self.rng, a + 5.0
        while s < b - 5.0:
            if rng.random() < 0.72:
                self._park(strip, s, d + float(rng.normal(0, 0.08)), 0.0 if side < 0 else math.pi)
            s += float(rng.uniform(5.2, 7.0))

    def _park(self, strip: Strip, s: float, d: float, turn: float) -> None:
        rng = self.rng
        name, paint = pick(rng, PAINTS)
        draw = rng.random()
        if draw < 0.93:
            instance = self.builder.new_instance(Class.CAR, name)
            place = self.place(strip, s, d, turn + float(rng.normal(0, 0.02)), instance)
            objects.car(place, rng, paint)
        else:
            instance = self.builder.new_instance(Class.MOTORCYCLE, name)
            place = self.place(strip, s, d, turn + float(rng.uniform(0.6, 1.2)), instance)
            objects.two_wheeler(place, Class.MOTORCYCLE, paint)

    def _small_things(self, strip: Strip, side: int, kerb: float, a: float, b: float) -> None:
        rng = self.rng
        for _ in range(2):
            s, d = float(rng.uniform(a, b)), kerb + side * float(rng.uniform(0.5, 0.8))
            draw = rng.random()
            if draw < 0.4:
                name, paint = pick(rng, PAINTS)
                instance = self.builder.new_instance(Class.BICYCLE, name)
                place = self.place(strip, s, d, float(rng.uniform(-0.3, 0.3)), instance)
                objects.two_wheeler(place, Class.BICYCLE, paint)
            elif draw < 0.75:
                self.place(strip, s, d).put(
                    Kind.CYLINDER, (0, 0, 0.5), (0.25, 0.25, 0.5), Class.OTHER_OBJECT,
                    Material.METAL, (0.25, 0.32, 0.28),
                )  # fmt: skip
            else:
                self._shelter(self.place(strip, s, d + side * 0.6, 0.0 if side > 0 else math.pi))

    def _shelter(self, place: Place) -> None:
        c = Class.OTHER_STRUCTURE
        for x in (-1.8, 1.8):
            place.put(Kind.BOX, (x, 0, 1.2), (0.05, 0.5, 1.2), c, Material.METAL, (0.5, 0.5, 0.52))
        place.put(Kind.BOX, (0, 0, 2.45), (1.95, 0.65, 0.06), c, Material.ROOF, (0.35, 0.37, 0.4))
        place.put(
            Kind.BOX, (0, 0.48, 1.2), (1.8, 0.03, 1.0), c, Material.CONCRETE, (0.6, 0.62, 0.6)
        )

    def _corners(self, main: Strip, cross: Strip, s: float) -> None:
        near = s - cross.half_m - 1.2
        objects.traffic_light(self.place(main, near, main.right_m - 0.5))
        far = s + cross.half_m + 1.2
        objects.traffic_light(self.place(main, far, main.left_m + 0.5, math.pi))
        if main.lanes >= 4 and not main.tram_m:
            place = self.place(main, far + 5.0, 0.0)
            place.put(Kind.BOX, (0, 0, 0.02), (3.0, 0.4, 0.12), Class.OTHER_GROUND,
                      Material.CONCRETE, (0.50, 0.49, 0.46))  # fmt: skip

    def _road_works(self, main: Strip) -> None:
        rng = self.rng
        s0 = EGO_START_M + float(rng.uniform(12.0, 22.0))
        edge = main.right_m
        for i in range(5):
            place = self.place(main, s0 + 2.5 * i, edge + 0.25)
            place.put(Kind.CONE, (0, 0, 0.375), (0.19, 0.19, 0.375), Class.CONE, Material.STRIPES,
                      (0.85, 0.35, 0.10))  # fmt: skip
        for i in range(3):
            place = self.place(main, s0 + 1.5 * i, edge - 0.6)
            place.put(Kind.BOX, (0, 0, 0.45), (0.5, 0.25, 0.45), Class.BARRIER, Material.STRIPES,
                      (0.80, 0.20, 0.16))  # fmt: skip
        instance = self.builder.new_instance(Class.CONSTRUCTION_VEHICLE, "yellow")
        objects.excavator(self.place(main, s0 + 9.0, edge - 1.5, 0.0, instance), rng)


def _gaps(a: float, b: float, taken: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of [a, b] beside the taken intervals."""
    out, start = [], a
    for low, high in sorted(taken):
        if low - start > 4.0:
            out.append((start, min(low, b)))
        start = max(start, high)
    if b - start > 4.0:
        out.append((start, b))
    return out
