"""The ground: strips along a straight-arc-straight centre line and straight crossings.

Two smooth height layers, carriageway and raised (sidewalk, terrain), meet at the kerb. Everything
is closed form in (x, y), so that cameras, LiDAR and voxels ask the very same surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from occ_training.world.arrays import Array, namespace
from occ_training.world.classes import Class

# No surface may lie on a voxel border, where rounding would decide: all heights are shifted.
LIFT_M = 0.0137
KERB_HEIGHT_M = 0.12
CROWN_SLOPE = 0.02
TERRAIN_HEIGHT_M = 0.3


@dataclass(frozen=True)
class CenterLine:
    """Straight, arc, straight; s grows along it and s = 0 is where the first straight starts.

    Attributes:
        start: World x, y of s = 0.
        heading: Direction of the first straight, radians from east.
        straight_m: Length of the first straight.
        curvature: Signed curvature of the arc, 1/m, left turn positive, 0 for none.
        arc_m: Length of the arc.
    """

    start: tuple[float, float]
    heading: float
    straight_m: float = 0.0
    curvature: float = 0.0
    arc_m: float = 0.0

    @property
    def _corners(self) -> tuple[float, ...]:
        """Start and end point and direction of the arc."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        x1, y1 = self.start[0] + self.straight_m * c, self.start[1] + self.straight_m * s
        turn = self.curvature * self.arc_m
        if self.curvature == 0.0:
            return x1, y1, c, s, x1 + self.arc_m * c, y1 + self.arc_m * s, c, s
        k = self.curvature
        x2 = x1 + (math.sin(self.heading + turn) - s) / k
        y2 = y1 - (math.cos(self.heading + turn) - c) / k
        return x1, y1, c, s, x2, y2, math.cos(self.heading + turn), math.sin(self.heading + turn)

    def lateral(self, x: Array, y: Array) -> Array:
        """Signed distance to the line, left positive, metres."""
        xp = namespace(x)
        x1, y1, c1, s1, x2, y2, c2, s2 = self._corners
        first = (y - y1) * c1 - (x - x1) * s1
        if self.curvature == 0.0:
            return first
        second = (y - y2) * c2 - (x - x2) * s2
        radius = 1.0 / self.curvature
        cx, cy = x1 - radius * s1, y1 + radius * c1
        reach = xp.sqrt((x - cx) ** 2 + (y - cy) ** 2)
        arc = radius - math.copysign(1.0, radius) * reach
        before = (x - x1) * c1 + (y - y1) * s1 <= 0
        after = (x - x2) * c2 + (y - y2) * s2 >= 0
        return xp.where(before, first, xp.where(after, second, arc))

    def station(self, x: Array, y: Array) -> Array:
        """Distance along the line of the foot of (x, y), metres."""
        xp = namespace(x)
        x1, y1, c1, s1, x2, y2, c2, s2 = self._corners
        first = (x - x1) * c1 + (y - y1) * s1
        if self.curvature == 0.0:
            return self.straight_m + first
        second = (x - x2) * c2 + (y - y2) * s2
        radius = 1.0 / self.curvature
        cx, cy = x1 - radius * s1, y1 + radius * c1
        side = math.copysign(1.0, radius)
        # Angle turned since the start of the arc, seen from its centre.
        forward = (x - cx) * c1 + (y - cy) * s1
        outward = side * ((x - cx) * s1 - (y - cy) * c1)
        arc = abs(radius) * xp.arctan2(forward, outward)
        middle = xp.where(second >= 0, self.arc_m + second, arc)
        return self.straight_m + xp.where(first <= 0, first, middle)

    def point(self, s: Array, d: Array) -> tuple[Array, Array, Array]:
        """World x, y and heading at station `s` and lateral offset `d` (left positive)."""
        xp = namespace(s)
        x1, y1, c1, s1, _x2, _y2, _c2, _s2 = self._corners
        u = s - self.straight_m
        on_arc = xp.clip(u, 0.0, self.arc_m)
        heading = self.heading + self.curvature * on_arc
        if self.curvature == 0.0:
            x, y = x1 + u * c1, y1 + u * s1
        else:
            k, past = self.curvature, u - on_arc
            x = x1 + (xp.sin(heading) - s1) / k + past * xp.cos(heading)
            y = y1 - (xp.cos(heading) - c1) / k + past * xp.sin(heading)
        return x - d * xp.sin(heading), y + d * xp.cos(heading), heading


@dataclass(frozen=True)
class Strip:
    """One street: its line and the offsets (left positive) where its lanes end.

    Attributes:
        line: Centre line of the carriageway.
        lanes: Number of lanes; the right half drives forward.
        lane_m: Width of a lane.
        parking_left_m: Width of the parking lane left, 0 for none.
        parking_right_m: Width of the parking lane right, 0 for none.
        sidewalk_m: Width of the sidewalks, kerb included.
        tram_m: Half width of a tram bed in the middle, 0 for none.
    """

    line: CenterLine
    lanes: int
    lane_m: float
    parking_left_m: float = 0.0
    parking_right_m: float = 0.0
    sidewalk_m: float = 2.0
    tram_m: float = 0.0

    @property
    def half_m(self) -> float:
        """Half width of the carriageway."""
        return 0.5 * self.lanes * self.lane_m

    @property
    def left_m(self) -> float:
        """Offset of the left kerb."""
        return self.half_m + self.parking_left_m

    @property
    def right_m(self) -> float:
        """Offset of the right kerb, negative."""
        return -self.half_m - self.parking_right_m

    def outside(self, d: Array) -> Array:
        """Distance outside the kerbs; negative on the road."""
        return namespace(d).maximum(d - self.left_m, self.right_m - d)


@dataclass(frozen=True)
class Ground:
    """The height field and its classes.

    Attributes:
        strips: Main street first, then the crossings.
        amplitude_m: Amplitude of the long wave (the grade).
        wave: Its wave vector (x, y), radians per metre, and its phase.
        bumps: Phases of the terrain's bumps.
    """

    strips: tuple[Strip, ...]
    amplitude_m: float
    wave: tuple[float, float, float]
    bumps: tuple[float, float]

    @property
    def steepest(self) -> float:
        """Upper bound of the long wave's slope."""
        return self.amplitude_m * math.hypot(self.wave[0], self.wave[1])

    def long_wave(self, x: Array, y: Array) -> Array:
        """Height of the grade alone, metres."""
        kx, ky, phase = self.wave
        return LIFT_M + self.amplitude_m * namespace(x).sin(kx * x + ky * y + phase)

    def laterals(self, x: Array, y: Array) -> tuple[Array, ...]:
        """Lateral offset to every strip."""
        return tuple(strip.line.lateral(x, y) for strip in self.strips)

    def outside(self, laterals: tuple[Array, ...]) -> Array:
        """Distance outside the nearest kerb; negative on any carriageway or parking lane."""
        xp = namespace(laterals[0])
        nearest = self.strips[0].outside(laterals[0])
        for strip, d in zip(self.strips[1:], laterals[1:], strict=True):
            nearest = xp.minimum(nearest, strip.outside(d))
        return nearest

    def crown(self, laterals: tuple[Array, ...]) -> Array:
        """Height of the carriageway over the long wave: a 2 % crown, rounded in the middle."""
        xp = namespace(laterals[0])
        best = self._crown_of(laterals[0])
        for d in laterals[1:]:
            best = xp.maximum(best, self._crown_of(d))
        return xp.clip(best, self.edge_drop_m, None)

    @staticmethod
    def _crown_of(d: Array) -> Array:
        return CROWN_SLOPE * (1.0 - namespace(d).sqrt(d * d + 1.0))

    @property
    def edge_drop_m(self) -> float:
        """Height of the gutter over the long wave (negative)."""
        main = self.strips[0]
        return CROWN_SLOPE * (1.0 - math.hypot(max(main.left_m, -main.right_m), 1.0))

    def rise(self, x: Array, y: Array, outside: Array) -> Array:
        """Height of the raised layer over the long wave: kerb height, then terrain with bumps."""
        xp = namespace(x)
        blend = xp.clip((outside - self.strips[0].sidewalk_m) / 3.0, 0.0, 1.0)
        bump = xp.sin(x / 5.3 + self.bumps[0]) * xp.sin(y / 6.1 + self.bumps[1])
        return self.edge_drop_m + KERB_HEIGHT_M + TERRAIN_HEIGHT_M * blend * bump

    def height(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Height of the ground and whether it is the raised layer."""
        laterals = self.laterals(x, y)
        outside = self.outside(laterals)
        raised = outside > 0
        over = namespace(x).where(raised, self.rise(x, y, outside), self.crown(laterals))
        return self.long_wave(x, y) + over, raised

    def road_height(self, x: Array, y: Array) -> Array:
        """Height of the carriageway layer, also beyond its edges."""
        return self.long_wave(x, y) + self.crown(self.laterals(x, y))

    def raised_height(self, x: Array, y: Array) -> Array:
        """Height of the raised layer, also over the carriageway."""
        return self.long_wave(x, y) + self.rise(x, y, self.outside(self.laterals(x, y)))

    def class_of(self, laterals: tuple[Array, ...]) -> Array:
        """Class id of the ground, int64."""
        xp = namespace(laterals[0])
        outside = self.outside(laterals)
        parking = xp.ones_like(outside, dtype=xp.bool)
        tram = xp.zeros_like(outside, dtype=xp.bool)
        for strip, d in zip(self.strips, laterals, strict=True):
            parking = parking & (abs(d) > strip.half_m)
            tram = tram | (abs(d) < strip.tram_m)
        flat = xp.where(parking, int(Class.PARKING), int(Class.ROAD))
        if self.strips[0].tram_m > 0:
            flat = xp.where(tram, int(Class.OTHER_GROUND), flat)
        walk = outside <= self.strips[0].sidewalk_m
        raised = xp.where(walk, int(Class.SIDEWALK), int(Class.TERRAIN))
        return xp.where(outside > 0, raised, flat)
