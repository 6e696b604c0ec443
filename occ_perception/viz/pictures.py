"""Pictures from above, of the input, and several on one sheet.

Bird's-eye pictures have x (forward) up and y (left) to the left, as one sees it from the robot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw

from occ_perception.core.errors import PredictionError
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.viz import draw
from occ_perception.viz.draw import CAPTION_PX, LEGEND_PX, MARGIN_PX, Caption, Entry, Picture
from occ_perception.viz.field_pictures import magma
from occ_perception.viz.palette import (
    BLOCKED,
    FAINT,
    FREE,
    INK,
    Image,
    blocked_shade,
    classes_present,
    hatch,
    name_of,
)

Labels = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.int8]

MAP_PX = 720  # about how wide the longer side of a map gets
AXIS_PX = 46  # room for ticks beside a map
MOST_ENLARGED = 1.35  # of pictures that fill a row of a sheet


def bev_labels(labels: Labels, label_map: LabelMap) -> Labels:
    """Class of each column seen from above, `[X, Y]`: its topmost occupied voxel.

    A column without one is free only if nothing in it is unknown.

    Args:
        labels: `[X, Y, Z]` uint8, z up.
        label_map: Meaning of the ids.
    """
    free, unknown = labels == label_map.free_id, labels == label_map.unknown_id
    occupied = ~free & ~unknown
    top = labels.shape[2] - 1 - np.argmax(occupied[:, :, ::-1], axis=2)
    seen = np.take_along_axis(labels, top[..., None], axis=2)[..., 0]
    empty = np.where(unknown.any(axis=2), label_map.unknown_id, label_map.free_id)
    return np.where(occupied.any(axis=2), seen, empty).astype(np.uint8)


def bev_picture(
    labels: Labels, grid: GridSpec, label_map: LabelMap, caption: Caption, title: str = ""
) -> Picture:
    """Label map from above, with the robot at the grid frame's origin.

    Args:
        labels: `[X, Y, Z]` uint8 ids in `grid`; z up.
        grid: Where the voxels are.
        label_map: Meaning and colours of the ids.
        caption: What the picture says about itself.
        title: Instead of "bird's-eye view".

    Raises:
        PredictionError: The labels have another shape than the grid.
    """
    check_shape(labels, grid)
    columns = bev_labels(labels, label_map)
    palette = label_map.palette()
    palette[label_map.free_id] = FREE
    entries = [
        Entry(name_of(i, label_map), tuple(palette[i].tolist()))
        for i in classes_present(columns, label_map)
    ]
    return map_picture(
        palette[columns],
        columns == label_map.unknown_id,
        (grid.origin_m[0], grid.origin_m[1]),
        grid.voxel_size_m[0],
        [*entries, Entry("free", FREE), Entry("unknown", None)],
        caption,
        (title or "bird's-eye view", grid.frame_id),
    )


def grid_picture(
    cells: Cells,
    resolution_m: float,
    origin_m: tuple[float, float],
    frame_id: str,
    caption: Caption,
) -> Picture:
    """A nav_msgs/OccupancyGrid whose axes are those of its frame.

    Args:
        cells: `[rows, columns]` int8 as in the message: rows along y, columns along x; -1 unknown.
        resolution_m: Edge length of a cell, metres.
        origin_m: Lower corner of cell (0, 0) in the frame, metres.
        frame_id: The frame.
        caption: What the picture says about itself.
    """
    by_x_y = cells.T
    entries = [
        Entry("blocked (100)", BLOCKED),
        Entry("free (0)", FREE),
        Entry("unknown (-1)", None),
    ]
    return map_picture(
        blocked_shade(by_x_y),
        by_x_y < 0,
        origin_m,
        resolution_m,
        entries,
        caption,
        ("occupancy grid", frame_id),
    )


def profile_picture(
    occupied: npt.NDArray[np.floating],
    known: npt.NDArray[np.bool_],
    grid: GridSpec,
    caption: Caption,
    heights_m: tuple[float, float] = (-1.5, 0.5),
) -> Picture:
    """How much of each column a field fills: what its density looks like from above.

    Args:
        occupied: `[X, Y, Z]` probability that a voxel is occupied.
        known: `[X, Y, Z]` voxels that the camera sees.
        grid: Where the voxels are.
        caption: What the picture says about itself.
        heights_m: Band of heights that is looked at, metres in the grid's frame.
    """
    check_shape(occupied, grid)
    layers = grid.slab(*heights_m)
    seen = known[:, :, layers]
    filled = np.where(seen, occupied[:, :, layers], 0).sum(axis=2) / np.maximum(seen.sum(axis=2), 1)
    marks = np.linspace(1, 0, 5)
    shades = zip(marks, magma(marks).tolist(), strict=True)
    entries = [Entry(f"{mark:.0%} filled", tuple(shade)) for mark, shade in shades]
    low, high = heights_m
    return map_picture(
        magma(filled),
        ~seen.any(axis=2),
        (grid.origin_m[0], grid.origin_m[1]),
        grid.voxel_size_m[0],
        [*entries, Entry("unknown", None)],
        caption,
        (f"density between {low:g} and {high:g} m of height", grid.frame_id),
    )


def input_picture(left: Image, right: Image | None, caption: Caption) -> Picture:
    """The camera images, left beside right, unscaled.

    Args:
        left: `[h, w, 3]` uint8 RGB.
        right: The same of the right camera; None for a single camera.
        caption: What the picture says about itself.
    """
    images = [("left", left)] if right is None else [("left", left), ("right", right)]
    height = max(image.shape[0] for _, image in images)
    width = sum(image.shape[1] + MARGIN_PX for _, image in images) + MARGIN_PX
    paper = draw.sheet(CAPTION_PX + height + 2 * MARGIN_PX + 10, max(width, 600))
    places, u = [], MARGIN_PX
    for name, image in images:
        paper[CAPTION_PX + 22 : CAPTION_PX + 22 + image.shape[0], u : u + image.shape[1]] = image
        places.append((u, f"{name}, {image.shape[1]} x {image.shape[0]} px"))
        u += image.shape[1] + MARGIN_PX

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, "input")
        for at, name in places:
            pen.text((at, CAPTION_PX + 2), name, INK, draw.font(draw.TEXT_PX))

    return Picture(draw.drawn(paper, strokes))


def contact_sheet(rows: Sequence[Sequence[Picture]], title: str = "") -> Picture:
    """Several pictures on one sheet; each row about fills the width of the widest.

    Args:
        rows: Pictures from the top down and from left to right.
        title: Line on top of the sheet; none if empty.
    """
    width = max(sum(p.image.shape[1] for p in row) for row in rows)
    strips = [_strip([picture.image for picture in row], width) for row in rows]
    head = draw.sheet(48 if title else 0, width)
    text = (MARGIN_PX, 12)
    if title:
        head = draw.drawn(head, lambda pen: pen.text(text, title, INK, draw.font(24)))
    return Picture(np.vstack([head, *strips]))


def check_shape(labels: Labels, grid: GridSpec) -> None:
    """Refuse labels that belong to another grid.

    Raises:
        PredictionError: The shapes differ.
    """
    if labels.shape != grid.shape:
        raise PredictionError(f"labels have shape {labels.shape}, the grid has {grid.shape}")


def _strip(images: Sequence[Image], width: int) -> Image:
    """Images beside each other, scaled to one height so that together they are `width` wide."""
    aspect = sum(image.shape[1] / image.shape[0] for image in images)
    height = max(round(width / aspect), 1)
    height = min(height, round(MOST_ENLARGED * max(image.shape[0] for image in images)))
    paper, u = draw.sheet(height, width), 0
    for image in images:
        wide = round(image.shape[1] * height / image.shape[0])
        scaled = Pillow.fromarray(image).resize((wide, height), Pillow.Resampling.LANCZOS)
        wide = min(wide, width - u)
        paper[:, u : u + wide] = np.asarray(scaled)[:, :wide]
        u += wide
    return paper


def map_picture(
    colors: Image,
    unknown: npt.NDArray[np.bool_],
    origin_m: tuple[float, float],
    cell_m: float,
    entries: Sequence[Entry],
    caption: Caption,
    titles: tuple[str, str],
) -> Picture:
    """A map `[X, Y]` with x up and y to the left, in a frame of metre axes."""
    cells_x, cells_y = unknown.shape
    zoom = max(1, round(MAP_PX / max(cells_x, cells_y)))
    # [x, y] -> rows from far to near, columns from left (large y) to right.
    image = np.kron(colors[::-1, ::-1], np.ones((zoom, zoom, 1), np.uint8))
    hidden = np.kron(unknown[::-1, ::-1], np.ones((zoom, zoom), np.bool_))
    image = np.where(hidden[..., None], hatch(*hidden.shape), image)
    height, width = hidden.shape
    u0, v0 = MARGIN_PX + AXIS_PX, CAPTION_PX + 8
    legend_px = len(entries) * draw.LINE_PX
    paper = draw.sheet(v0 + max(height, legend_px) + AXIS_PX, u0 + width + 24 + LEGEND_PX)
    paper[v0 : v0 + height, u0 : u0 + width] = image
    scale = zoom / cell_m
    far_x, far_y = origin_m[0] + cells_x * cell_m, origin_m[1] + cells_y * cell_m
    # Pixel centres are at integers, hence the half.
    affine = np.array(
        [[0, -scale, 0, u0 + scale * far_y - 0.5], [-scale, 0, 0, v0 + scale * far_x - 0.5]]
    )
    extent = (origin_m[0], far_x, origin_m[1], far_y)

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, titles[0])
        draw.write_legend(pen, entries, u0 + width + 24, v0)
        _metre_axes(pen, affine, extent, titles[1])
        draw.robot(pen, lambda p: tuple(affine @ (*p, 0.0, 1.0)), 2.4)
        length_m = draw.round_length(far_y - origin_m[1])
        bar = (u0 + width + 24, v0 + height - 8)
        draw.scale_bar(pen, bar, length_m * scale, length_m)

    return Picture(draw.drawn(paper, strokes), affine)


def _metre_axes(
    pen: ImageDraw.ImageDraw,
    affine: npt.NDArray[np.float64],
    extent: tuple[float, float, float, float],
    frame_id: str,
) -> None:
    """Frame, ticks and names: x on the left, y below."""
    near, far, right, left = extent
    u0, v0 = affine @ (far, left, 0, 1)
    u1, v1 = affine @ (near, right, 0, 1)
    pen.rectangle((u0, v0, u1, v1), outline=FAINT)
    small = draw.font(draw.TICK_PX)
    for x in draw.ticks(near, far):
        v = (affine @ (x, 0, 0, 1))[1]
        pen.line((u0 - 5, v, u0, v), fill=INK)
        pen.text((u0 - 8, v), f"{x:g}", INK, small, anchor="rm")
    for y in draw.ticks(right, left):
        u = (affine @ (0, y, 0, 1))[0]
        pen.line((u, v1, u, v1 + 5), fill=INK)
        pen.text((u, v1 + 7), f"{y:g}", INK, small, anchor="mt")
    middle = (u0 + u1) / 2
    pen.text((u0, v0 - 4), f"x forward [m], frame {frame_id}", INK, small, anchor="ls")
    pen.text((middle, v1 + 24), "< left      y [m]      right >", INK, small, anchor="mt")
