"""The voxel view: occupied voxels as cubes, seen from behind and above the robot.

The projection is parallel, so all cubes look alike, and drawing them from far to near is exact:
of two cubes of one grid the farther one can never hide the nearer one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.viz import draw
from occ_perception.viz.draw import CAPTION_PX, LEGEND_PX, MARGIN_PX, Caption, Entry, Picture
from occ_perception.viz.palette import FAINT, INK, PAPER, Image, classes_present, name_of
from occ_perception.viz.pictures import Labels, check_shape

Array = npt.NDArray[np.float64]

WIDTH_PX = 1180
FINER = 2  # drawn at twice the size and averaged: smooth edges
AZIMUTH_RAD, ELEVATION_RAD = np.deg2rad(-14.0), np.deg2rad(34.0)
CHUNK = 20_000  # faces at a time; bounds the memory of the samples
SHADES = {"top": 1.0, "back": 0.82, "side": 0.66}
SEAM = 0.86  # brightness of the seams between cubes


def voxel_picture(
    labels: Labels, grid: GridSpec, label_map: LabelMap, caption: Caption, title: str = ""
) -> Picture:
    """Occupied voxels as cubes from behind the robot: forward is up, left is left.

    Args:
        labels: `[X, Y, Z]` uint8 ids in `grid`; z up. Free and unknown are not drawn.
        grid: Where the voxels are.
        label_map: Meaning and colours of the ids.
        caption: What the picture says about itself.
        title: Instead of "voxel view".

    Raises:
        PredictionError: The labels have another shape than the grid.
    """
    check_shape(labels, grid)
    affine, (height, width) = _projection(grid)
    floor = draw.drawn(draw.sheet(height, width), lambda pen: _floor(pen, affine, grid))
    occupied = (labels != label_map.free_id) & (labels != label_map.unknown_id)
    large = np.repeat(np.repeat(floor, FINER, axis=0), FINER, axis=1)
    _paint(large, labels, occupied, grid, label_map.palette(), affine)
    image = large.reshape(height, FINER, width, FINER, 3).mean((1, 3)).round().astype(np.uint8)

    entries = [
        Entry(name_of(i, label_map), tuple(label_map.palette()[i].tolist()))
        for i in classes_present(labels, label_map)
    ]
    unknown = float((labels == label_map.unknown_id).mean())
    notes = (f"occupied {occupied.mean():.1%}", f"unknown {unknown:.1%}", "(of all voxels; free")

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, title or "voxel view")
        left = width - LEGEND_PX
        draw.write_legend(pen, entries, left, CAPTION_PX + 8)
        below = CAPTION_PX + 16 + len(entries) * draw.LINE_PX
        for row, note in enumerate((*notes, "and unknown not drawn)")):
            pen.text((left, below + 18 * row), note, FAINT, draw.font(draw.TICK_PX))
        _axis_names(pen, affine, grid)

    return Picture(draw.drawn(image, strokes), affine)


def _axes() -> tuple[Array, Array, Array]:
    """Right, up and away of the picture as vectors of the grid's frame."""
    ca, sa, ce, se = (f(a) for a in (AZIMUTH_RAD, ELEVATION_RAD) for f in (np.cos, np.sin))
    away = np.array([ce * ca, ce * sa, -se])
    right = np.array([sa, -ca, 0.0])
    return right, np.cross(right, away), away


def _projection(grid: GridSpec) -> tuple[Array, tuple[int, int]]:
    """Map from metres to pixels `[2, 4]`, and the height and width of the picture."""
    right, up, _ = _axes()
    low, high = np.array(grid.origin_m), np.array(grid.upper_m)
    corners = np.stack(np.meshgrid(*np.stack([low, high], -1), indexing="ij"), -1).reshape(8, 3)
    across, upward = corners @ right, corners @ up
    scale = (WIDTH_PX - LEGEND_PX - 2 * MARGIN_PX) / np.ptp(across)
    top = CAPTION_PX + 8
    height = int(np.ceil(top + scale * np.ptp(upward))) + 60
    u0 = MARGIN_PX - scale * across.min()
    v0 = top + scale * upward.max()
    return np.vstack([np.append(scale * right, u0), np.append(-scale * up, v0)]), (height, WIDTH_PX)


def _paint(
    image: Image,
    labels: Labels,
    occupied: npt.NDArray[np.bool_],
    grid: GridSpec,
    palette: Image,
    affine: Array,
) -> None:
    """Draw the visible faces of all cubes into an image of `FINER` times the picture's size."""
    _, _, away = _axes()
    size = np.asarray(grid.voxel_size_m)
    corner, color, face = _visible_faces(labels, occupied, grid, palette, away)
    order = np.argsort(-(corner @ (away * size)), kind="stable")
    flat = image.reshape(-1, 3)
    height, width = image.shape[:2]
    samples = [_samples(name, size, away, affine) for name in SHADES]
    most = max(len(offset) for offset, _ in samples)
    # All faces get the same number of samples, so that one table serves a whole chunk.
    offsets = np.stack([np.resize(offset, (most, 2)) for offset, _ in samples])
    shades = np.stack([np.resize(shade, most) for _, shade in samples])
    start = FINER * ((corner * size + grid.origin_m) @ affine[:, :3].T + affine[:, 3])
    for begin in range(0, len(order), CHUNK):
        part = order[begin : begin + CHUNK]
        pixel = (start[part, None] + offsets[face[part]]).astype(np.int32)
        inside = (pixel >= 0).all(-1) & (pixel[..., 0] < width) & (pixel[..., 1] < height)
        index = pixel[..., 1] * width + pixel[..., 0]
        shaded = color[part, None] * shades[face[part]][..., None]
        flat[index[inside]] = shaded[inside].astype(np.uint8)  # the last, the nearest, stays


def _visible_faces(
    labels: Labels,
    occupied: npt.NDArray[np.bool_],
    grid: GridSpec,
    palette: Image,
    away: Array,
) -> tuple[Array, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Voxel index `[n, 3]`, colour `[n, 3]` and kind `[n]` of faces that nothing covers."""
    padded = np.pad(occupied, 1)
    inner = (slice(1, -1),) * 3
    sideways = 1 if away[1] < 0 else -1  # the side that is turned to the viewer
    shifts = ((2, 1), (0, -1), (1, sideways))  # in the order of SHADES
    corners, colors, kinds = [], [], []
    for kind, (axis, step) in enumerate(shifts):
        covered = np.roll(padded, -step, axis)[inner]
        index = np.argwhere(occupied & ~covered)
        corners.append(index)
        colors.append(palette[labels[tuple(index.T)]])
        kinds.append(np.full(len(index), kind))
    return (
        np.concatenate(corners).astype(np.float64),
        np.concatenate(colors).astype(np.float32),
        np.concatenate(kinds),
    )


def _samples(
    name: str, size: Array, away: Array, affine: Array
) -> tuple[Array, npt.NDArray[np.float32]]:
    """Pixel offsets from a cube's lower corner that cover one face without holes, and shades."""
    along = {"top": (0, 1), "back": (1, 2), "side": (0, 2)}[name]
    fixed = {"top": (2, 1.0), "back": (0, 0.0), "side": (1, 1.0 if away[1] < 0 else 0.0)}[name]
    edges = FINER * affine[:, :3] * size
    counts = [int(np.ceil(1.6 * np.abs(edges[:, axis]).max())) + 1 for axis in along]
    a, b = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in counts], indexing="ij")
    at = np.zeros((a.size, 3))
    at[:, along[0]], at[:, along[1]], at[:, fixed[0]] = a.ravel(), b.ravel(), fixed[1]
    seam = np.minimum.reduce([a, 1 - a, b, 1 - b]).ravel() < 0.07
    return at @ edges.T, (SHADES[name] * np.where(seam, SEAM, 1.0)).astype(np.float32)


def _floor(pen: ImageDraw.ImageDraw, affine: Array, grid: GridSpec) -> None:
    """Outline of the grid's floor with a line every few metres, and the robot."""
    (x0, y0, z), (x1, y1, _) = grid.origin_m, grid.upper_m

    def pixel(x: float, y: float) -> tuple[float, float]:
        u, v = affine @ (x, y, z, 1)
        return (float(u), float(v))

    for x in draw.ticks(x0, x1):
        pen.line((*pixel(x, y0), *pixel(x, y1)), fill=(228, 231, 234))
    for y in draw.ticks(y0, y1):
        pen.line((*pixel(x0, y), *pixel(x1, y)), fill=(228, 231, 234))
    corners = [pixel(x0, y0), pixel(x1, y0), pixel(x1, y1), pixel(x0, y1)]
    pen.polygon(corners, outline=FAINT)


def _axis_names(pen: ImageDraw.ImageDraw, affine: Array, grid: GridSpec) -> None:
    """Ticks along the right edge (x) and the near edge (y), arrows, robot and scale bar."""
    (x0, y0, z), (x1, y1, _) = grid.origin_m, grid.upper_m
    # A white rim keeps the writing legible where voxels are behind it.
    small = {"font": draw.font(draw.TICK_PX), "stroke_width": 2, "stroke_fill": PAPER}

    def pixel(x: float, y: float, height: float = z) -> tuple[float, float]:
        u, v = affine @ (x, y, height, 1)
        return (float(u), float(v))

    for x in draw.ticks(x0, x1):
        u, v = pixel(x, y0)
        pen.text((u + 8, v), f"{x:g}", INK, **small, anchor="lm")
    for y in draw.ticks(y0, y1):
        u, v = pixel(x0, y)
        pen.text((u, v + 8), f"{y:g}", INK, **small, anchor="mt")
    u, v = pixel((x0 + x1) / 2, y0)
    pen.text((u + 36, v + 6), "x forward [m]", INK, **small, anchor="lm")
    u, v = pixel(x0, (y0 + y1) / 2)
    pen.text((u, v + 28), f"< left      y [m], frame {grid.frame_id}", INK, **small, anchor="mt")
    draw.robot(pen, lambda p: pixel(p[0], p[1]), 2.4)
    low, high = pixel(x1, y1), pixel(x1, y1, grid.upper_m[2])
    pen.line((*low, *high), fill=FAINT)
    pen.text((high[0], high[1] - 4), f"z {grid.upper_m[2]:g} m", INK, **small, anchor="ls")
    length_m = draw.round_length(y1 - y0)
    scale = float(np.linalg.norm(affine[:, :3] @ _axes()[0]))
    bottom = pixel(x0, y1)[1] + 36
    draw.scale_bar(pen, (WIDTH_PX - LEGEND_PX, bottom), length_m * scale, length_m)
