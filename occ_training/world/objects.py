"""Things of the street, put together from solids: cars, trucks, two-wheelers, persons, trees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from occ_training.world.classes import Class
from occ_training.world.primitives import Builder, Kind, Material, Triple

PAINTS: dict[str, Triple] = {
    "white": (0.82, 0.82, 0.80), "silver": (0.60, 0.62, 0.64), "black": (0.13, 0.13, 0.15),
    "grey": (0.38, 0.39, 0.40), "blue": (0.16, 0.27, 0.58), "red": (0.62, 0.12, 0.12),
    "green": (0.15, 0.38, 0.22), "yellow": (0.82, 0.66, 0.14), "orange": (0.82, 0.42, 0.12),
}  # fmt: skip
CLOTHES: dict[str, Triple] = {
    "red": (0.65, 0.18, 0.17), "blue": (0.20, 0.28, 0.52), "black": (0.15, 0.15, 0.17),
    "green": (0.22, 0.42, 0.25), "yellow": (0.80, 0.70, 0.25), "white": (0.80, 0.79, 0.76),
}  # fmt: skip
_SKIN = (0.72, 0.53, 0.43)
_RUBBER = (0.10, 0.10, 0.11)
_STEEL = (0.42, 0.43, 0.44)


@dataclass(frozen=True)
class Place:
    """Where an object stands: position and heading in a body's frame.

    Attributes:
        builder: Table under construction.
        origin: Ground point of the object, metres.
        yaw: Heading (x axis of the object), radians.
        body: Moving body it belongs to, 0 = the world.
        instance: Instance id, 0 for stuff.
    """

    builder: Builder
    origin: Triple = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    body: int = 0
    instance: int = 0

    def put(
        self,
        kind: Kind,
        at: Triple,
        half: Triple,
        class_id: Class,
        material: Material,
        color: Triple,
        rpy: Triple = (0.0, 0.0, 0.0),
    ) -> None:
        """Add a solid at `at` in the object's own frame."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        x, y, z = self.origin
        center = (x + c * at[0] - s * at[1], y + s * at[0] + c * at[1], z + at[2])
        turned = (rpy[0], rpy[1], rpy[2] + self.yaw)
        self.builder.add(
            kind, center, half, class_id, material, color, turned, self.body, self.instance
        )


def pick(rng: np.random.Generator, colors: dict[str, Triple]) -> tuple[str, Triple]:
    """A colour and its name, brightness varied by 10 %."""
    name = str(rng.choice(list(colors)))
    shade = rng.uniform(0.9, 1.1)
    r, g, b = colors[name]
    return name, (r * shade, g * shade, b * shade)


def _wheels(
    place: Place, xs: tuple[float, ...], y: float, radius: float, width: float, class_id: Class
) -> None:
    for x in xs:
        for side in (-1, 1):
            place.put(
                Kind.CYLINDER, (x, side * (y + 0.015 - width / 2), radius),
                (radius, radius, width / 2), class_id, Material.TYRE, _RUBBER,
                (math.pi / 2, 0.0, 0.0),
            )  # fmt: skip


def car(place: Place, rng: np.random.Generator, paint: Triple) -> float:
    """Body, cabin and four wheels; returns the length."""
    k, w, h = rng.uniform(0.9, 1.1, 3)
    length, width, body, cabin = 4.3 * k, 1.8 * w, 0.75 * h, 0.65 * h
    place.put(Kind.BOX, (0, 0, 0.25 + body / 2), (length / 2, width / 2, body / 2), Class.CAR,
              Material.CAR_BODY, paint)  # fmt: skip
    back = rng.uniform(-0.45, -0.1)
    place.put(Kind.BOX, (back, 0, 0.25 + body + cabin / 2),
              (1.2 * k, 0.8 * w, cabin / 2), Class.CAR, Material.CAR_CABIN, paint)  # fmt: skip
    _wheels(place, (-0.3 * length, 0.3 * length), width / 2, 0.31, 0.2, Class.CAR)
    return float(length)


def truck(place: Place, rng: np.random.Generator, paint: Triple, class_id: Class) -> float:
    """Truck, bus or trailer; returns the length."""
    length = 12.0 if class_id == Class.BUS else float(rng.uniform(7.0, 12.0))
    top = float(rng.uniform(3.0, 3.6))
    material = Material.FACADE if class_id == Class.BUS else Material.TRUCK
    if class_id == Class.BUS:
        place.put(Kind.BOX, (0, 0, 0.35 + (top - 0.35) / 2), (length / 2, 1.25, (top - 0.35) / 2),
                  class_id, Material.CAR_CABIN, paint)  # fmt: skip
    else:
        cab = 0.0 if class_id == Class.TRAILER else 2.1
        load = length - cab - 0.3 * (cab > 0)
        place.put(Kind.BOX, (-(length - load) / 2, 0, 0.9 + (top - 0.9) / 2),
                  (load / 2, 1.25, (top - 0.9) / 2), class_id, material, paint)  # fmt: skip
        if cab:
            place.put(Kind.BOX, (length / 2 - cab / 2, 0, 0.5 + 1.1), (cab / 2, 1.2, 1.1),
                      class_id, Material.CAR_CABIN, paint)  # fmt: skip
        place.put(Kind.BOX, (0, 0, 0.75), (length / 2 - 0.2, 0.5, 0.15), class_id,
                  Material.METAL, _STEEL)  # fmt: skip
    _wheels(place, (-0.33 * length, -0.22 * length, 0.36 * length), 1.25, 0.48, 0.3, class_id)
    return length


def excavator(place: Place, rng: np.random.Generator) -> float:
    """Construction vehicle: tracks, turned cabin, two arm boxes."""
    yellow = PAINTS["yellow"]
    c = Class.CONSTRUCTION_VEHICLE
    for side in (-1, 1):
        place.put(Kind.BOX, (0, side * 0.95, 0.4), (1.8, 0.3, 0.38), c, Material.TYRE, _RUBBER)
    place.put(Kind.BOX, (-0.3, 0, 1.35), (1.5, 1.2, 0.5), c, Material.TRUCK, yellow)
    place.put(Kind.BOX, (0.4, 0.6, 2.3), (0.7, 0.5, 0.6), c, Material.CAR_CABIN, yellow)
    lift = float(rng.uniform(0.5, 0.8))
    reach, height = 1.7 * math.cos(lift), 1.7 * math.sin(lift)
    place.put(Kind.BOX, (1.0 + reach, -0.4, 1.7 + height), (1.8, 0.2, 0.25), c, Material.TRUCK,
              yellow, (0.0, -lift, 0.0))  # fmt: skip
    place.put(Kind.BOX, (1.0 + 2 * reach + 0.35, -0.4, 1.7 + 2 * height - 1.1), (0.18, 0.18, 1.3),
              c, Material.TRUCK, yellow, (0.0, 0.25, 0.0))  # fmt: skip
    return 4.0


def two_wheeler(place: Place, class_id: Class, paint: Triple) -> None:
    """Bicycle or motorcycle: two wheels and bars."""
    heavy = class_id in (Class.MOTORCYCLE, Class.MOTORCYCLIST)
    radius, thick = (0.30, 0.07) if heavy else (0.34, 0.025)
    for x in (-0.55, 0.55):
        place.put(Kind.CYLINDER, (x, 0, radius), (radius, radius, thick), class_id, Material.TYRE,
                  _RUBBER, (math.pi / 2, 0.0, 0.0))  # fmt: skip
    frame = 0.14 if heavy else 0.025
    place.put(Kind.BOX, (0, 0, 0.62), (0.5, frame, 0.16 if heavy else 0.03), class_id,
              Material.METAL, paint)  # fmt: skip
    place.put(Kind.BOX, (0.45, 0, 0.75), (0.03, 0.03, 0.3), class_id, Material.METAL, _STEEL,
              (0.0, -0.3, 0.0))  # fmt: skip
    place.put(Kind.BOX, (0.38, 0, 1.04), (0.03, 0.3, 0.025), class_id, Material.METAL, _STEEL)
    place.put(Kind.BOX, (-0.25, 0, 0.82), (0.14, 0.1, 0.05), class_id, Material.TYRE, _RUBBER)


def torso(
    place: Place, height: float, cloth: Triple, class_id: Class = Class.PERSON, seat_m: float = 0.0
) -> None:
    """Upper body and head of a person or rider whose hip is at 0.48 of the height (plus seat)."""
    k = height / 1.75
    hip = seat_m if seat_m else 0.84 * k
    place.put(Kind.BOX, (0, 0, hip + 0.29 * k), (0.13 * k, 0.2 * k, 0.3 * k), class_id,
              Material.CLOTH, cloth)  # fmt: skip
    place.put(Kind.ELLIPSOID, (0.02, 0, hip + 0.75 * k), (0.11 * k, 0.09 * k, 0.14 * k), class_id,
              Material.CLOTH, _SKIN)  # fmt: skip
    for side in (-1, 1):
        place.put(Kind.CYLINDER, (0.02, side * 0.25 * k, hip + 0.3 * k),
                  (0.05 * k, 0.05 * k, 0.29 * k), class_id, Material.CLOTH, cloth)  # fmt: skip


def leg(place: Place, height: float, cloth: Triple, side: int, class_id: Class) -> None:
    """One leg, hanging from the origin of its own body (the hip)."""
    k = height / 1.75
    place.put(Kind.BOX, (0, side * 0.1 * k, -0.42 * k), (0.08 * k, 0.08 * k, 0.42 * k), class_id,
              Material.CLOTH, cloth)  # fmt: skip


def rider(place: Place, height: float, cloth: Triple, class_id: Class, paint: Triple) -> None:
    """Person on a two-wheeler; all of it has the rider's class, as the data sets label it."""
    two_wheeler(place, class_id, paint)
    torso(place, height, cloth, class_id, seat_m=0.88)
    for side in (-1, 1):
        place.put(Kind.BOX, (0.08, side * 0.13, 0.55), (0.09, 0.07, 0.36), class_id,
                  Material.CLOTH, (0.18, 0.2, 0.26), (0.0, -0.35, 0.0))  # fmt: skip


def tree(place: Place, rng: np.random.Generator) -> None:
    """Trunk and a crown of 4-9 overlapping ellipsoids with holes."""
    bare, r = float(rng.uniform(2.0, 3.5)), float(rng.uniform(0.1, 0.24))
    crown = float(rng.uniform(1.2, 2.6))
    place.put(Kind.CYLINDER, (0, 0, (bare + crown) / 2), (r, r, (bare + crown) / 2), Class.TRUNK,
              Material.BARK, (0.34, 0.27, 0.20))  # fmt: skip
    base = np.array([0.20, 0.36, 0.12]) * rng.uniform(0.8, 1.25)
    for _ in range(int(rng.integers(4, 10))):
        out = rng.normal(0.0, 0.5, 3).clip(-0.8, 0.8) * crown * np.array([1.0, 1.0, 0.8])
        half = crown * rng.uniform(0.38, 0.66) * rng.uniform(0.85, 1.15, 3)
        color = base * rng.uniform(0.8, 1.25) * np.array([rng.uniform(0.8, 1.25), 1.0, 1.0])
        place.put(Kind.FOLIAGE, (out[0], out[1], bare + crown + out[2]), tuple(half),
                  Class.VEGETATION, Material.LEAVES, tuple(color))  # fmt: skip


def hedge(place: Place, rng: np.random.Generator, length: float) -> None:
    """Row of ellipsoids."""
    height = float(rng.uniform(0.5, 1.5))
    base = np.array([0.17, 0.33, 0.12]) * rng.uniform(0.85, 1.2)
    count = max(1, int(length / 1.3))
    for i in range(count):
        x = (i + 0.5 - count / 2) * length / count
        place.put(Kind.FOLIAGE, (x, 0, height * 0.45), (1.0, 0.55, height * 0.58),
                  Class.VEGETATION, Material.LEAVES,
                  tuple(base * rng.uniform(0.85, 1.15)))  # fmt: skip


def building(place: Place, rng: np.random.Generator, length: float) -> None:
    """House whose front is the object's -y face: main box, base, roof, bay or door."""
    height, depth = float(rng.uniform(6.0, 18.0)), float(rng.uniform(8.0, 12.0))
    wall = np.array([0.60, 0.54, 0.46]) * rng.uniform(0.7, 1.2) * rng.uniform(0.88, 1.12, 3)
    material = Material.FACADE if rng.random() < 0.75 else Material.BRICK
    c = Class.BUILDING
    place.put(Kind.BOX, (0, depth / 2, height / 2 - 1), (length / 2, depth / 2, height / 2 + 1), c,
              material, tuple(wall))  # fmt: skip
    place.put(Kind.BOX, (0, depth / 2, 0.1), (length / 2 + 0.06, depth / 2 + 0.06, 0.5), c,
              Material.CONCRETE, tuple(wall * 0.7))  # fmt: skip
    place.put(Kind.BOX, (0, depth / 2, height + 0.2), (length / 2 + 0.3, depth / 2 + 0.3, 0.22), c,
              Material.ROOF, (0.38, 0.24, 0.20))  # fmt: skip
    if rng.random() < 0.6:
        x = float(rng.uniform(-0.3, 0.3) * length)
        up = float(rng.uniform(0.45, 0.8)) * height
        place.put(Kind.BOX, (x, -0.3, up / 2 + 1.3), (1.6, 0.7, up / 2 - 1.2), c, material,
                  tuple(wall * 0.92))  # fmt: skip
    place.put(Kind.BOX, (float(rng.uniform(-0.4, 0.4) * length), 0.0, 1.1), (0.6, 0.1, 1.15), c,
              Material.PLANKS, (0.30, 0.20, 0.14))  # fmt: skip


def pole(place: Place, rng: np.random.Generator) -> None:
    """Street lamp."""
    r, h = float(rng.uniform(0.06, 0.12)), float(rng.uniform(5.0, 8.0))
    place.put(Kind.CYLINDER, (0, 0, h / 2), (r, r, h / 2), Class.POLE, Material.METAL, _STEEL)
    place.put(Kind.BOX, (0.8, 0, h), (0.85, 0.05, 0.05), Class.POLE, Material.METAL, _STEEL)
    place.put(Kind.BOX, (1.6, 0, h - 0.06), (0.3, 0.14, 0.07), Class.POLE, Material.METAL,
              (0.75, 0.75, 0.72))  # fmt: skip


def sign(place: Place, rng: np.random.Generator) -> None:
    """Traffic sign on a pole, facing -x (towards the traffic that comes along +x)."""
    r, bottom = float(rng.uniform(0.035, 0.06)), float(rng.uniform(2.0, 2.6))
    size = float(rng.uniform(0.3, 0.45))
    place.put(Kind.CYLINDER, (0, 0, bottom / 2 + size), (r, r, bottom / 2 + size), Class.POLE,
              Material.METAL, _STEEL)  # fmt: skip
    colors = ((0.75, 0.12, 0.12), (0.12, 0.25, 0.65), (0.85, 0.78, 0.25), (0.80, 0.80, 0.78))
    color = colors[int(rng.integers(len(colors)))]
    place.put(Kind.BOX, (-r - 0.03, 0, bottom + size), (0.025, size, size), Class.TRAFFIC_SIGN,
              Material.SIGN, color)  # fmt: skip


def traffic_light(place: Place) -> None:
    """Traffic light on a pole, facing -x."""
    place.put(Kind.CYLINDER, (0, 0, 1.6), (0.07, 0.07, 1.6), Class.POLE, Material.METAL, _STEEL)
    place.put(Kind.BOX, (-0.15, 0, 2.8), (0.12, 0.17, 0.45), Class.TRAFFIC_LIGHT, Material.LIGHT,
              (0.1, 0.11, 0.1))  # fmt: skip


def picket_fence(place: Place, length: float, height: float) -> None:
    """Fence along x with posts every two metres."""
    place.put(Kind.PICKETS, (0, 0, height / 2), (length / 2, 0.025, height / 2), Class.FENCE,
              Material.PLANKS, (0.52, 0.42, 0.30))  # fmt: skip
    count = int(length / 2) + 1
    for i in range(count):
        x = (i - (count - 1) / 2) * 2.0
        place.put(Kind.BOX, (x, 0, height / 2), (0.06, 0.06, height / 2 + 0.06), Class.FENCE,
                  Material.PLANKS, (0.42, 0.34, 0.26))  # fmt: skip


def wall(place: Place, rng: np.random.Generator, length: float, height: float) -> None:
    """Garden wall along x."""
    thick = float(rng.uniform(0.05, 0.15))
    place.put(Kind.BOX, (0, 0, height / 2), (length / 2, thick, height / 2), Class.FENCE,
              Material.BRICK, (0.55, 0.38, 0.30))  # fmt: skip


def person(place: Place, rng: np.random.Generator) -> tuple[float, str, Triple]:
    """Standing or walking person without legs; returns height, colour name and trousers."""
    height = float(rng.uniform(1.5, 1.9))
    name, cloth = pick(rng, CLOTHES)
    torso(place, height, cloth)
    return height, name, tuple(0.5 * c + 0.1 for c in pick(rng, CLOTHES)[1])
