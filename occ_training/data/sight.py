"""What a LiDAR's lines of sight say about space: where beams passed nothing is, where they end is.

Not part of any published training of density fields, which learn from pictures alone; it lets a
small network learn in minutes what pictures teach it in days. All sweeps of the drive count, so
that the field learns what lies behind surfaces as well; no voxel truth is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.grid import GridSpec
from occ_perception.geometry.transforms import Matrix, inverse
from occ_training.data.bag_scene import BagScene
from occ_training.data.drive_sweeps import DriveSweeps, Sweep, drive_sweeps
from occ_training.data.field_views import Place
from occ_training.data.kept import Kept
from occ_training.data.samples import Points
from occ_training.world.masks import entered_by_beams

LIDAR = "lidar"
Cells = npt.NDArray[np.int32]
Floats = npt.NDArray[np.floating]
_KEPT_DRIVES = 32
_BEAMS_PER_PASSED = 3  # where a few beams pass, their neighbours do


@dataclass(frozen=True)
class SightSpec:
    """Which cells are asked for, and how many.

    Attributes:
        occupied: Cells per sample in which a beam ends.
        free: Cells per sample that beams passed and in which none ends.
        bands_m: Borders between depths that get equal shares of the occupied cells; most cells are
            far, most beams near.
        free_shares: Shares of the free cells by band, nearest first. Fewer of them make the field
            bolder, which it has to be where it cannot be sure: one threshold is for all depths.
        origin_m: Lower corner of the cells' grid in the sensor's frame; SSCBench's by default.
        cell_m: Edge length of the cells.
        shape: Number of cells along x, y and z.
        reach_m: Cells further than this from every place of the scanner are left out: too few beams
            end there to tell empty from missed.
        spacing_m: Way between the sweeps that are used.
        turn_s: Time of a turn of a scanner whose points are not motion-corrected: clockwise, first
            backwards, forwards at the stamp. 0 = they are.
    """

    occupied: int = 2048
    free: int = 4096
    bands_m: tuple[float, ...] = (12.8, 25.6, 38.4)
    free_shares: tuple[float, ...] = (0.35, 0.3, 0.2, 0.15)
    origin_m: tuple[float, float, float] = (0.0, -25.6, -2.0)
    cell_m: float = 0.2
    shape: tuple[int, int, int] = (256, 256, 32)
    reach_m: float = 20.0
    spacing_m: float = 2.0
    turn_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse shares that do not belong to the bands.

        Raises:
            ConfigError: There is not one share per band.
        """
        if len(self.free_shares) != len(self.bands_m) + 1:
            raise ConfigError(
                f"{len(self.bands_m)} borders make {len(self.bands_m) + 1} bands, but sight has "
                f"{len(self.free_shares)} free_shares: give one for each"
            )

    @property
    def occupied_counts(self) -> tuple[int, ...]:
        """Occupied cells of each band."""
        bands = len(self.bands_m) + 1
        return (self.occupied // bands,) * bands

    @property
    def free_counts(self) -> tuple[int, ...]:
        """Free cells of each band."""
        return tuple(round(share * self.free) for share in self.free_shares)

    @property
    def grid(self) -> GridSpec:
        """The cells."""
        return GridSpec(self.origin_m, (self.cell_m,) * 3, self.shape, "sensor")


class SightPoints(NamedTuple):
    """Centres of cells whose state is known.

    Attributes:
        points: In the frame of the input's camera, metres.
        occupied: Whether a beam ends in the cell; else one passed through it.
        known: The others only fill up the batch.
    """

    points: Float[Tensor, "b n 3"]
    occupied: Bool[Tensor, "b n"]
    known: Bool[Tensor, "b n"]


def collate_sight(samples: Sequence[SightPoints | None]) -> SightPoints | None:
    """A batch of samples of one each."""
    known = [sample for sample in samples if sample is not None]
    return SightPoints(*map(torch.cat, zip(*known, strict=True))) if known else None


class SeenCells(NamedTuple):
    """Cells in an input's view by the state that the drive's beams tell, in bands of depth.

    Attributes:
        occupied: Flat indices into the grid.
        free: The same.
        T_cam_sensor: `[4, 4]` sensor to the input's camera.
    """

    occupied: tuple[Cells, ...]
    free: tuple[Cells, ...]
    T_cam_sensor: Matrix


class SightSource:
    """Cells for the inputs of drives; what a drive's beams tell is found out once.

    Args:
        spec: Which cells.
        kept: Instants whose cells are kept.
    """

    def __init__(self, spec: SightSpec, kept: int) -> None:
        self._spec = spec
        self._sweeps: Kept[str, DriveSweeps] = Kept(_KEPT_DRIVES)
        self._states: Kept[tuple[str, int], npt.NDArray[np.int8]] = Kept(kept)
        self._cells: Kept[Place, SeenCells] = Kept(2 * kept)

    def draw(self, place: Place, K: Float[Tensor, "3 3"], rng: np.random.Generator) -> SightPoints:
        """Random cells in an input's view, as a batch of one.

        Args:
            place: The input.
            K: Its normalised intrinsics.
            rng: Chooses.

        Raises:
            BagError: The drive has no points.
        """
        cells = self._cells.get(place, lambda: self._seen_from(place, K.double().numpy()))
        return draw_cells(cells, self._spec, rng)

    def _seen_from(self, place: Place, K: Matrix) -> SeenCells:
        scene, row, _ = place
        state = self._states.get((scene.name, row), lambda: self._state(place))
        return seen_cells(state, sensor_in_camera(place, sweep_at(place)), K, self._spec)

    def _state(self, place: Place) -> npt.NDArray[np.int8]:
        scene = place.scene
        drive = self._sweeps.get(scene.name, lambda: self._drive(scene))
        own = sweep_at(place)
        T = own.T_world_base @ own.T_base_sensor
        T[:3, 3] -= drive.start
        return cell_states(drive.sweeps, T, self._spec)

    def _drive(self, scene: BagScene) -> DriveSweeps:
        points = [_checked(layer, scene) for layer in scene.messages(LIDAR)]
        return drive_sweeps(points, self._spec.spacing_m, self._spec.turn_s)


def sweep_at(place: Place) -> Points:
    """The LiDAR's points of an instant.

    Raises:
        BagError: The layer has no points.
    """
    return _checked(place.scene.label(LIDAR, place.row), place.scene)


def sensor_in_camera(place: Place, points: Points) -> Matrix:
    """Pose `[4, 4]` of the LiDAR in a place's camera."""
    camera = place.scene.rig(place.row)[place.camera][0]
    return np.linalg.inv(camera.T_base_cam) @ points.T_base_sensor


def cell_states(
    sweeps: Sequence[Sweep], T_world_sensor: Matrix, spec: SightSpec
) -> npt.NDArray[np.int8]:
    """`[X, Y, Z]`: 1 where a beam ends, 0 where beams only pass, -1 where nothing is known.

    Args:
        sweeps: Of the drive.
        T_world_sensor: `[4, 4]` where the grid stands, in the sweeps' coordinates.
        spec: The cells.
    """
    grid, to_sensor = spec.grid, inverse(T_world_sensor)
    passed, hit = np.zeros(spec.shape, np.bool_), np.zeros(spec.shape, np.bool_)
    near = np.zeros(spec.shape[:2], np.bool_)
    x, y = np.meshgrid(grid.axis_centers(0), grid.axis_centers(1), indexing="ij")
    furthest_m = np.linalg.norm(grid.upper_m) + spec.reach_m
    for sweep in sweeps:
        place = to_sensor[:3, :3] @ sweep.origins[0] + to_sensor[:3, 3]
        if np.linalg.norm(place) > furthest_m:
            continue
        near |= np.hypot(x - place[0], y - place[1]) < spec.reach_m
        some = slice(None, None, _BEAMS_PER_PASSED)
        entered_by_beams(grid, T_world_sensor, sweep.origins[some], sweep.ends[some], passed)
        index, inside = grid.index_of(sweep.ends @ to_sensor[:3, :3].T + to_sensor[:3, 3])
        hit[tuple(index[inside].T)] = True
    state = np.where(hit, 1, np.where(passed, 0, -1)).astype(np.int8)
    state[~near] = -1
    return state


def seen_cells(
    state: npt.NDArray[np.int8], T_cam_sensor: Matrix, K: Matrix, spec: SightSpec
) -> SeenCells:
    """The known cells in an input's view.

    Args:
        state: `cell_states`' answer.
        T_cam_sensor: `[4, 4]` sensor to the input's camera.
        K: `[3, 3]` normalised intrinsics of the input.
        spec: The cells.
    """
    flat = np.flatnonzero(state >= 0).astype(np.int32)
    centres = cell_centres(flat, spec) @ T_cam_sensor[:3, :3].T + T_cam_sensor[:3, 3]
    uvw = centres @ K.T
    ahead = uvw[:, 2] > 0
    uv = uvw[:, :2] / np.where(ahead, uvw[:, 2], 1.0)[:, None]
    seen = ahead & (np.abs(uv) < 1).all(axis=1)
    flat, band = flat[seen], np.digitize(centres[seen, 2], spec.bands_m)
    is_occupied = state.ravel()[flat] == 1
    numbers = range(len(spec.bands_m) + 1)
    return SeenCells(
        tuple(flat[is_occupied & (band == number)] for number in numbers),
        tuple(flat[~is_occupied & (band == number)] for number in numbers),
        T_cam_sensor,
    )


def draw_cells(cells: SeenCells, spec: SightSpec, rng: np.random.Generator) -> SightPoints:
    """Random cells, of every band the same number, as a batch of one."""
    drawn: list[tuple[Cells, bool]] = []
    for bands, counts in ((cells.occupied, spec.occupied_counts), (cells.free, spec.free_counts)):
        for band, count in zip(bands, counts, strict=True):
            some = rng.integers(max(len(band), 1), size=count)
            drawn.append((band[some] if len(band) else np.zeros(count, np.int32), len(band) > 0))
    index = np.concatenate([part for part, _ in drawn])
    known = np.concatenate([np.full(len(part), is_known) for part, is_known in drawn])
    T = cells.T_cam_sensor
    points = (cell_centres(index, spec) @ T[:3, :3].T + T[:3, 3]).astype(np.float32)
    batch = (points, np.arange(len(index)) < sum(spec.occupied_counts), known)
    return SightPoints(*(torch.from_numpy(part)[None] for part in batch))


def cell_centres(flat: Cells, spec: SightSpec) -> Floats:
    """`[n, 3]` centres of cells in the sensor's frame, metres."""
    index = np.stack(np.unravel_index(flat, spec.shape), axis=1)
    return (index + 0.5) * spec.cell_m + spec.origin_m


def _checked(layer: object, scene: BagScene) -> Points:
    if not isinstance(layer, Points):
        raise BagError(f"drive {scene.name}: the topic of LiDAR points has something else")
    return layer
