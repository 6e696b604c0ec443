"""Analytic solids in one table: box, cylinder, ellipsoid, cone, and what each looks like."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from occ_perception.geometry.transforms import rotation_rpy
from occ_training.world.arrays import Array, Backend, cast, namespace
from occ_training.world.classes import Class


class Kind(IntEnum):
    """Shape and transparency: what decides which ray kernel a primitive needs."""

    BOX = 0
    CYLINDER = 1
    ELLIPSOID = 2
    CONE = 3
    FOLIAGE = 4  # ellipsoid with holes
    PICKETS = 5  # box with gaps along its x axis


class Material(IntEnum):
    """Texture recipe."""

    GROUND = 0
    FACADE = 1
    BRICK = 2
    PLANKS = 3
    LEAVES = 4
    BARK = 5
    METAL = 6
    SIGN = 7
    CAR_BODY = 8
    CAR_CABIN = 9
    TYRE = 10
    CLOTH = 11
    STRIPES = 12
    LIGHT = 13
    CONCRETE = 14
    TRUCK = 15
    ROOF = 16


Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Primitives:
    """Solids as columns of one table; `P` rows.

    Attributes:
        kind: `[P]` int64, `Kind`.
        center: `[P, 3]` float64, metres, in the body's frame (in the world's after `posed`).
        rotation: `[P, 3, 3]` float64, local -> body.
        half: `[P, 3]` float64 half extents; radii of an ellipsoid; (r, r, h/2) of the round ones.
        class_id: `[P]` int64.
        instance_id: `[P]` int64, 0 for stuff.
        body: `[P]` int64, index of the moving body it is fixed to, 0 = the world.
        material: `[P]` int64, `Material`.
        color: `[P, 3]` float64 albedo, 0..1.
        seed: `[P, 2]` float64 offset of its texture, metres.
    """

    kind: Array
    center: Array
    rotation: Array
    half: Array
    class_id: Array
    instance_id: Array
    body: Array
    material: Array
    color: Array
    seed: Array

    def __len__(self) -> int:
        """Number of primitives."""
        return len(self.kind)

    def take(self, rows: Array) -> Primitives:
        """The rows of a mask or an index."""
        return Primitives(**{name: getattr(self, name)[rows] for name in _COLUMNS})

    def posed(self, T_world_body: npt.NDArray[np.float64]) -> Primitives:
        """All primitives in the world, from the poses `[B, 4, 4]` of their bodies."""
        T = T_world_body[self.body]
        center = np.einsum("pij,pj->pi", T[:, :3, :3], self.center) + T[:, :3, 3]
        return replace(self, center=center, rotation=T[:, :3, :3] @ self.rotation)

    def on(self, backend: Backend) -> Primitives:
        """The same table on a backend."""
        return Primitives(**{name: backend.array(getattr(self, name)) for name in _COLUMNS})

    def shifted(self, origin: tuple[float, float, float]) -> Primitives:
        """The geometry in float32, relative to a nearby point (shadow rays)."""
        xp = namespace(self.center)
        center = xp.stack([cast(self.center[:, i] - origin[i], "float32") for i in range(3)], -1)
        return replace(self, center=center, rotation=cast(self.rotation, "float32"),
                       half=cast(self.half, "float32"))  # fmt: skip

    @property
    def radius(self) -> Array:
        """`[P]` radius of the bounding sphere, metres."""
        return (self.half**2).sum(-1) ** 0.5


_COLUMNS = tuple(Primitives.__dataclass_fields__)


@dataclass
class Builder:
    """Collects primitives; everything is added in a body's frame."""

    rng: np.random.Generator
    rows: list[tuple[object, ...]] = field(default_factory=list)
    instances: list[dict[str, object]] = field(default_factory=list)

    def add(
        self,
        kind: Kind,
        center: Triple,
        half: Triple,
        class_id: Class,
        material: Material,
        color: Triple,
        rpy: Triple = (0.0, 0.0, 0.0),
        body: int = 0,
        instance: int = 0,
    ) -> None:
        """Add one solid; `rpy` turns it about fixed x, y, z of its body."""
        seed = self.rng.uniform(0.0, 200.0, 2)
        self.rows.append(
            (
                kind,
                center,
                rotation_rpy(*rpy),
                half,
                class_id,
                instance,
                body,
                material,
                color,
                seed,
            )
        )

    def new_instance(self, class_id: Class, color_name: str, body: int = 0) -> int:
        """Reserve the next instance id and remember what it is."""
        self.instances.append(
            {
                "id": len(self.instances) + 1,
                "class_id": int(class_id),
                "color": color_name,
                "body": body,
            }
        )
        return len(self.instances)

    def table(self) -> Primitives:
        """Everything added so far."""
        columns = list(zip(*self.rows, strict=True)) if self.rows else [[] for _ in _COLUMNS]
        shapes = {"center": (-1, 3), "rotation": (-1, 3, 3), "half": (-1, 3), "color": (-1, 3),
                  "seed": (-1, 2)}  # fmt: skip
        arrays = {
            name: np.array(column, dtype=np.float64 if name in shapes else np.int64).reshape(
                shapes.get(name, (-1,))
            )
            for name, column in zip(_COLUMNS, columns, strict=True)
        }
        return Primitives(**arrays)
