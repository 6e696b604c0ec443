"""Pictures of surround systems: the views of a rig, where a text applies, Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.viz import draw
from occ_perception.viz.bag_pictures import turbo
from occ_perception.viz.draw import Caption, Entry, Picture
from occ_perception.viz.palette import INK, Image, classes_present, name_of
from occ_perception.viz.pictures import contact_sheet, map_picture

Floats = npt.NDArray[np.floating]

VIEW_PX = 640
_CELL_M = 0.1
_HEAD_PX = 8  # of an arrow
_SIGMAS = 2.5  # an ellipse is drawn out to there


@dataclass(frozen=True, eq=False)
class GaussianScene:
    """Gaussians as a SemanticGaussians message has them.

    Attributes:
        means: `[g, 3]` centres, metres.
        scales: `[g, 3]` standard deviations, metres.
        wxyz: `[g, 4]` rotations.
        opacities: `[g]` 0..1.
        labels: `[g]` class ids.
        flow: `[g, 3]` m/s, or None where motion was not estimated.
    """

    means: Floats
    scales: Floats
    wxyz: Floats
    opacities: Floats
    labels: npt.NDArray[np.uint8]
    flow: Floats | None = None


def rig_picture(images: Mapping[str, Image], caption: Caption) -> Picture:
    """The images of a rig by camera, in rows of three; a single one larger."""
    width = VIEW_PX if len(images) > 1 else 2 * VIEW_PX
    pictures = []
    for name, image in images.items():
        size = width, round(image.shape[0] * width / image.shape[1])
        title = f"{name}, {image.shape[1]} x {image.shape[0]} px"
        pictures.append(_titled(cv2.resize(image, size, interpolation=cv2.INTER_AREA), title))
    rows = [pictures[i : i + 3] for i in range(0, len(pictures), 3)]
    first, second = caption.lines("input")
    return contact_sheet(rows, f"{first}   {second}")


def similarity_picture(
    similarity: Floats, occupied: npt.NDArray[np.bool_], grid: GridSpec, text: str, caption: Caption
) -> Picture:
    """Where a text applies, from above: the most similar occupied voxel of each column.

    Args:
        similarity: `[X, Y, Z]` cosines.
        occupied: `[X, Y, Z]`.
        grid: Where the voxels are.
        text: What was looked for.
        caption: What the picture says about itself.
    """
    best = np.where(occupied, similarity, -np.inf).max(axis=2)
    empty = np.isneginf(best)
    seen = best[~empty] if not empty.all() else np.array([0.0, 1.0])
    low, high = (float(v) for v in np.percentile(seen, [2, 99.5]))
    share = np.where(empty, 0.0, (best - low) / max(high - low, 1e-6))
    colours = turbo(share.reshape(-1)).reshape(*share.shape, 3)
    marks = np.linspace(high, low, 5)
    shades = turbo(np.linspace(1, 0, 5)).tolist()
    entries = [Entry(f"cosine {m:.3f}", tuple(c)) for m, c in zip(marks, shades, strict=True)]
    origin = (grid.origin_m[0], grid.origin_m[1])
    titles = (f'similarity to "{text}"', grid.frame_id)
    entries.append(Entry("free or unknown", None))
    return map_picture(colours, empty, origin, grid.voxel_size_m[0], entries, caption, titles)


def gaussian_picture(
    scene: GaussianScene, grid: GridSpec, label_map: LabelMap, caption: Caption
) -> Picture:
    """Gaussians from above as ellipses in the colours of their classes, with their motion.

    Args:
        scene: The Gaussians, in the grid's frame.
        grid: Its footprint is drawn.
        label_map: Meaning and colours of the classes.
        caption: What the picture says about itself.
    """
    size = np.asarray(grid.upper_m[:2]) - grid.origin_m[:2]
    cells = np.rint(size / _CELL_M).astype(int)
    canvas = np.full((cells[0], cells[1], 3), 255.0, np.float32)
    for index in np.argsort(scene.means[:, 2]):  # what is high covers what is low
        _paint(canvas, scene, int(index), label_map.palette(), grid.origin_m)
    palette = label_map.palette()
    present = classes_present(scene.labels, label_map)
    entries = [Entry(name_of(i, label_map), tuple(palette[i].tolist())) for i in present]
    picture = map_picture(
        canvas.astype(np.uint8),
        np.zeros(tuple(cells), np.bool_),
        (grid.origin_m[0], grid.origin_m[1]),
        _CELL_M,
        entries,
        caption,
        (f"{len(scene.means)} Gaussians from above", grid.frame_id),
    )
    return _with_motion(picture, scene, grid)


def _paint(
    canvas: Floats, scene: GaussianScene, index: int, palette: Image, origin_m: tuple[float, ...]
) -> None:
    """Lay one Gaussian over the map `[x, y, rgb]`."""
    turn = _rotation(scene.wxyz[index])
    half = turn * scene.scales[index]
    covariance = (half @ half.T)[:2, :2] + 1e-4 * np.eye(2)
    reach = _SIGMAS * np.sqrt(np.diag(covariance))
    centre = scene.means[index, :2] - origin_m[:2]
    low = np.maximum(np.floor((centre - reach) / _CELL_M), 0).astype(int)
    high = np.minimum(np.ceil((centre + reach) / _CELL_M), canvas.shape[:2]).astype(int)
    if (low >= high).any():
        return
    axes = [(np.arange(low[k], high[k]) + 0.5) * _CELL_M - centre[k] for k in range(2)]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    distance = np.einsum("xyi,ij,xyj->xy", offset, np.linalg.inv(covariance), offset)
    alpha = (scene.opacities[index] * np.exp(-0.5 * distance))[..., None]
    window = canvas[low[0] : high[0], low[1] : high[1]]
    window += alpha * (palette[scene.labels[index]] - window)


def _rotation(wxyz: Floats) -> npt.NDArray[np.float64]:
    w, x, y, z = wxyz / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _with_motion(picture: Picture, scene: GaussianScene, grid: GridSpec) -> Picture:
    """Arrows to where the fastest visible Gaussians are half a second later, on the map."""
    if scene.flow is None:
        return picture
    starts, ends = scene.means, scene.means + 0.5 * scene.flow
    lower, upper = grid.origin_m[:2], grid.upper_m[:2]
    on_map = [((p[:, :2] > lower) & (p[:, :2] < upper)).all(axis=1) for p in (starts, ends)]
    moves = (np.linalg.norm(scene.flow, axis=1) > 0.5) & (scene.opacities > 0.1)

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        for index in np.flatnonzero(moves & on_map[0] & on_map[1]).tolist():
            start, end = (np.array(picture.pixel_of(p[index])) for p in (starts, ends))
            pen.line([tuple(start), tuple(end)], fill=INK, width=2)
            along = (end - start) / max(float(np.linalg.norm(end - start)), 1.0)
            back, side = end - _HEAD_PX * along, _HEAD_PX / 2 * along[::-1] * (-1, 1)
            pen.polygon([tuple(end), tuple(back + side), tuple(back - side)], fill=INK)

    return Picture(draw.drawn(picture.image, strokes), picture.pixel_from_metre)


def _titled(image: Image, title: str) -> Picture:
    head = draw.sheet(26, image.shape[1])
    text = draw.drawn(head, lambda pen: pen.text((4, 3), title, INK, draw.font(draw.TEXT_PX)))
    return Picture(np.vstack([text, image]))
