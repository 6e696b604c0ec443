"""A camera at a moment, and what its rays meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from occ_training.world.arrays import Array, Backend, namespace
from occ_training.world.ground_hit import hit_ground
from occ_training.world.lenses import Lens
from occ_training.world.light import Looks
from occ_training.world.primitives import Primitives
from occ_training.world.raycast import RAISED, ROAD, SKY, Rays, find_pairs, nearest_hit
from occ_training.world.road import Ground

GROUND_LIMIT_M = 400.0


@dataclass(frozen=True, eq=False)
class View:
    """Everything that a picture is computed from.

    Attributes:
        ground: Height field.
        prims: Solids in the world frame at the moment of exposure, on the backend.
        looks: Light and noise, on the backend.
        lens: The lens.
        T_world_cam: `[4, 4]` pose of the optical frame.
        sub_rays: Sub-rays along a pixel's side.
        backend: NumPy or torch.
    """

    ground: Ground
    prims: Primitives
    looks: Looks
    lens: Lens
    T_world_cam: npt.NDArray[np.float64]
    sub_rays: int
    backend: Backend

    def rays(self, ray: npt.NDArray[np.float64]) -> Rays:
        """Rays `[T, S, 3]` of the optical frame in the world."""
        world = ray @ self.T_world_cam[:3, :3].T
        place = self.backend.array
        direction = tuple(place(np.ascontiguousarray(world[..., i])) for i in range(3))
        origin = tuple(place(self.T_world_cam[None, i, 3:4].copy()) for i in range(3))
        return Rays(origin, direction)


def meet_ground(ground: Ground, rays: Rays) -> tuple[Array, Array]:
    """Distance and target (`SKY`, `ROAD` or `RAISED`) of tiles of rays."""
    xp = namespace(rays.direction[0])
    distance, raised = hit_ground(ground, rays.origin, rays.direction, GROUND_LIMIT_M)
    target = xp.where(raised, RAISED, ROAD)
    return distance, xp.where(distance < xp.inf, target, SKY)


def cast_rays(ground: Ground, prims: Primitives, holes: Array, rays: Rays) -> tuple[Array, Array]:
    """Distance and target (a primitive's row or as `meet_ground`) of tiles of rays."""
    distance, target = meet_ground(ground, rays)
    if len(prims):
        nearest_hit(prims, holes, rays, find_pairs(prims, rays), distance, target)
    return distance, target
