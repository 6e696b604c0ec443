"""A small street of boxes from one seed, with one marked cube at a place that is always known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_perception.core.labels import LabelMap
from occ_training.world.boxes import Box

Color = tuple[float, float, float]

# The ground is a little off every voxel border, so that truth does not hang on rounding.
GROUND_Z_M = 0.0137
GROUND_DEPTH_M = 0.4
KERB_M = 0.12
LENGTH_M, START_M = 130.0, -20.0
# Traffic keeps right: the robot's lane is around y = 0, the other one to its left.
LANES_Y_M = (-1.7, 4.9)
CENTER_LINE_Y_M = 1.6
PARKING_Y_M = (-3.9, 7.1)
SIDEWALK_Y_M = (-6.7, 9.8)
BUILDING_Y_M = (-7.4, 10.6)

# The marked cube: pure red, 2 m, on the other lane, to the LEFT of the axis. Its class is the one
# whose colour in pictures is pure red as well, and nothing else in the street has that class.
CUBE_CENTER_M = (18.3, 3.9, GROUND_Z_M + 1.0)
CUBE_SIZE_M = 2.0
CUBE_CLASS = "traffic-sign"
CUBE_RGB = (255, 0, 0)

CAR_PAINT: tuple[Color, ...] = (
    (0.72, 0.74, 0.78),
    (0.10, 0.11, 0.13),
    (0.16, 0.28, 0.55),
    (0.85, 0.85, 0.83),
    (0.20, 0.42, 0.36),
)
PLASTER: tuple[Color, ...] = (
    (0.80, 0.70, 0.55),
    (0.70, 0.52, 0.42),
    (0.62, 0.64, 0.66),
    (0.84, 0.80, 0.70),
    (0.55, 0.48, 0.44),
)


@dataclass(frozen=True)
class Street:
    """A scene.

    Attributes:
        seed: What it was made from; also selects the textures.
        boxes: All solids; where voxels are shared evenly, the earlier one wins.
        casters: The solids that throw shadows.
        center_line_y_m: Where the dashed line of the road is.
    """

    seed: int
    boxes: tuple[Box, ...]
    casters: tuple[Box, ...]
    center_line_y_m: float


def build_street(seed: int, labels: LabelMap) -> Street:
    """Lay out the street of a seed.

    Args:
        seed: Any integer; equal seeds give equal streets.
        labels: Label map with the class names of SemanticKITTI.
    """
    layout, paint = (np.random.default_rng([seed, child]) for child in (1, 2))
    cube = Box(CUBE_CENTER_M, (CUBE_SIZE_M,) * 3, labels.id_of(CUBE_CLASS), (1, 0, 0), "marked")
    things = [
        cube,
        *_person((11.2, -5.6), labels),
        *_poles(layout, labels),
        *_cars(layout, paint, labels),
        *_buildings(layout, paint, labels),
        *_hedges(layout, labels),
    ]
    return Street(seed, (*things, *_ground(labels)), tuple(things), CENTER_LINE_Y_M)


def _standing(x: float, y: float, size: tuple[float, float, float], base: float = 0.0) -> tuple:
    """Centre of a box that stands on the ground, or `base` metres above it."""
    return (x, y, GROUND_Z_M + base + size[2] / 2)


def _ground(labels: LabelMap) -> list[Box]:
    """Road, parking lanes, sidewalks and soil as slabs side by side."""

    def slab(name: str, right: float, left: float, top: float, color: Color, texture: str) -> Box:
        size = (LENGTH_M, left - right, GROUND_DEPTH_M + top)
        center = (START_M + LENGTH_M / 2, (right + left) / 2, GROUND_Z_M + top - size[2] / 2)
        return Box(center, size, labels.id_of(name), color, texture)

    asphalt, paving = (0.36, 0.36, 0.38), (0.58, 0.55, 0.52)
    slabs = [slab("road", *LANES_Y_M, 0.0, asphalt, "asphalt")]
    for side, far in ((0, -40.0), (1, 40.0)):
        lane, parking, walk = LANES_Y_M[side], PARKING_Y_M[side], SIDEWALK_Y_M[side]
        strips = (
            ("parking", lane, parking, 0.0, (0.44, 0.42, 0.42), "slabs"),
            ("sidewalk", parking, walk, KERB_M, paving, "slabs"),
            ("terrain", walk, far, KERB_M, (0.36, 0.46, 0.22), "leaves"),
        )
        slabs += [slab(n, *sorted((a, b)), top, c, t) for n, a, b, top, c, t in strips]
    return slabs


def _person(at: tuple[float, float], labels: LabelMap) -> list[Box]:
    parts = (
        ((0.30, 0.34, 0.85), 0.0, (0.16, 0.18, 0.30)),  # legs
        ((0.34, 0.48, 0.65), 0.85, (0.78, 0.55, 0.12)),  # torso
        ((0.22, 0.20, 0.24), 1.52, (0.80, 0.62, 0.50)),  # head
    )
    person = labels.id_of("person")
    return [
        Box(_standing(*at, size, KERB_M + base), size, person, color) for size, base, color in parts
    ]


def _poles(layout: np.random.Generator, labels: LabelMap) -> list[Box]:
    size = (0.18, 0.18, 6.0)
    places = [(x, y) for y in (-4.3, 7.5) for x in np.arange(9.0, 80.0, 17.0)]
    pole = labels.id_of("pole")
    return [
        Box(_standing(x + layout.uniform(-1.5, 1.5), y, size, KERB_M), size, pole, (0.5, 0.52, 0.5))
        for x, y in places
    ]


def _cars(layout: np.random.Generator, paint: np.random.Generator, labels: LabelMap) -> list[Box]:
    """Parked cars on both sides and one that comes; none at the cube or at its mirror image."""
    right = [(x, -2.8) for x in (13.0, 24.0, 33.0, 45.0, 52.0)]
    left = [(x, 6.0) for x in (9.0, 28.0, 34.5, 47.0)]
    car, boxes = labels.id_of("car"), []
    for x, y in [*right, *left, (38.0, 3.3)]:
        x, y = x + layout.uniform(-0.6, 0.6), y + layout.uniform(-0.1, 0.1)
        yaw = layout.uniform(-0.05, 0.05)
        color = CAR_PAINT[paint.integers(len(CAR_PAINT))]
        length = layout.uniform(4.0, 4.6)
        body, cabin = (length, 1.8, 0.62), (0.55 * length, 1.6, 0.6)
        boxes += [
            Box(_standing(x, y, body, 0.3), body, car, color, "plain", yaw),
            Box(_standing(x, y, cabin, 0.92), cabin, car, (0.13, 0.16, 0.20), "plain", yaw),
        ]
        for dx in (-0.32 * length, 0.32 * length):
            wheels = (0.6, 1.7, 0.6)
            at = _standing(x + dx * np.cos(yaw), y + dx * np.sin(yaw), wheels)
            boxes.append(Box(at, wheels, car, (0.05, 0.05, 0.05), "plain", yaw))
    return boxes


def _buildings(
    layout: np.random.Generator, paint: np.random.Generator, labels: LabelMap
) -> list[Box]:
    """Two rows of fronts with gaps now and then."""
    building, boxes = labels.id_of("building"), []
    for front in BUILDING_Y_M:
        x = START_M
        while x < START_M + LENGTH_M:
            size = (layout.uniform(9, 19), 5.0, layout.uniform(6, 13))
            y = front + np.sign(front) * (size[1] / 2 + layout.uniform(0, 0.8))
            color = PLASTER[paint.integers(len(PLASTER))]
            boxes.append(Box(_standing(x + size[0] / 2, y, size), size, building, color, "facade"))
            x += size[0] + (layout.uniform(3, 6) if layout.uniform() < 0.4 else 0.0)
    return boxes


def _hedges(layout: np.random.Generator, labels: LabelMap) -> list[Box]:
    """Clipped trees on the left sidewalk: a trunk and a cube of leaves."""
    trunk, leaves = labels.id_of("trunk"), labels.id_of("vegetation")
    boxes = []
    for x in np.arange(14.0, 75.0, 13.0):
        x, y = x + layout.uniform(-2, 2), 8.7
        width = layout.uniform(1.8, 2.4)
        stem, crown = (0.25, 0.25, 2.4), (width, width, layout.uniform(1.8, 2.6))
        boxes += [
            Box(_standing(x, y, stem, KERB_M), stem, trunk, (0.34, 0.24, 0.16)),
            Box(_standing(x, y, crown, KERB_M + 2.3), crown, leaves, (0.22, 0.42, 0.14), "leaves"),
        ]
    return boxes
