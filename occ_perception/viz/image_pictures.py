"""Pictures of what a system says about the pixels of its image: depth, features, classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from occ_perception.core.labels import LabelMap
from occ_perception.viz import draw
from occ_perception.viz.draw import CAPTION_PX, LEGEND_PX, MARGIN_PX, Caption, Entry, Picture
from occ_perception.viz.field_pictures import magma
from occ_perception.viz.palette import FAINT, INK, Image, classes_present, hatch, name_of

IMAGE_PX = 960  # how wide an image gets at least
BAR_PX = 22
_MARKS_M = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 80)
_LEAST_GAP_PX = 15  # of two marks at a colour bar


def depth_picture(
    depth_m: npt.NDArray[np.floating],
    caption: Caption,
    title: str = "rendered depth",
    range_m: tuple[float, float] = (3.0, 80.0),
) -> Picture:
    """Depth as colours, near is bright, with a bar in metres; even steps are those of 1/depth.

    Args:
        depth_m: `[h, w]` depth along the optical axis; NaN (no statement) is hatched.
        caption: What the picture says about itself.
        title: What depth it is.
        range_m: Depths of the brightest and of the darkest colour; the same for every picture, so
            that pictures can be compared.
    """
    known = np.isfinite(depth_m) & (depth_m > 0)
    shade = _shade(np.where(known, depth_m, range_m[1]), range_m)
    image = _enlarged(np.where(known[..., None], magma(shade), 0))
    image = np.where(_enlarged(known)[..., None], image, hatch(*image.shape[:2]))
    paper, u, v = _framed(image)
    height = image.shape[0]
    levels = 1 - np.linspace(0, 1, height)[:, None].repeat(BAR_PX, axis=1)
    paper[v : v + height, u : u + BAR_PX] = magma(levels)

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, title)
        pen.rectangle((u, v, u + BAR_PX, v + height), outline=FAINT)
        _write_marks(pen, (u + BAR_PX, v), height, range_m)

    return Picture(draw.drawn(paper, strokes))


def feature_picture(colours: Image, caption: Caption) -> Picture:
    """Features as the colours that a system gave them.

    Args:
        colours: `[h, w, 3]` RGB.
        caption: What the picture says about itself.
    """
    paper, u, v = _framed(_enlarged(colours))
    text = ("like colours:", "like features")

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, "features, three principal components")
        for row, line in enumerate(text):
            pen.text((u, v + row * draw.LINE_PX), line, FAINT, draw.font(draw.TEXT_PX))

    return Picture(draw.drawn(paper, strokes))


def class_picture(labels: npt.NDArray[np.uint8], label_map: LabelMap, caption: Caption) -> Picture:
    """Classes of pixels, with a legend.

    Args:
        labels: `[h, w]` ids.
        label_map: Meaning and colours of the ids.
        caption: What the picture says about itself.
    """
    unknown = labels == label_map.unknown_id
    palette = label_map.palette()
    image = _enlarged(palette[labels])
    image = np.where(_enlarged(unknown)[..., None], hatch(*image.shape[:2]), image)
    entries = [
        Entry(name_of(i, label_map), _rgb(palette[i])) for i in classes_present(labels, label_map)
    ]
    if (labels == label_map.free_id).any():
        name = name_of(label_map.free_id, label_map)
        entries.append(Entry(name, _rgb(palette[label_map.free_id])))
    if unknown.any():
        entries.append(Entry("no statement", None))
    paper, u, v = _framed(image, len(entries) * draw.LINE_PX)

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, "classes of the pixels")
        draw.write_legend(pen, entries, u, v)

    return Picture(draw.drawn(paper, strokes))


def _shade(
    depth_m: npt.NDArray[np.floating], range_m: tuple[float, float]
) -> npt.NDArray[np.floating]:
    """Inverse depth, 1 at the near end of the range and 0 at its far end."""
    near, far = range_m
    return np.clip((1 / depth_m - 1 / far) / (1 / near - 1 / far), 0.0, 1.0)


def _write_marks(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], height: int, range_m: tuple[float, float]
) -> None:
    """Depths beside a colour bar whose upper right corner is given, near at the top."""
    u, v, last = corner[0], corner[1], -_LEAST_GAP_PX
    small = draw.font(draw.TICK_PX)
    for mark in (m for m in _MARKS_M if range_m[0] <= m <= range_m[1]):
        at = round((1 - float(_shade(np.float64(mark), range_m))) * (height - 1))
        if at - last < _LEAST_GAP_PX:
            continue
        pen.line((u, v + at, u + 5, v + at), fill=INK)
        pen.text((u + 9, v + at), f"{mark} m", INK, small, anchor="lm")
        last = at


def _enlarged(image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """The image in whole pixels, at least about `IMAGE_PX` wide."""
    zoom = max(1, round(IMAGE_PX / image.shape[1]))
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _framed(image: npt.NDArray[np.generic], least_px: int = 0) -> tuple[Image, int, int]:
    """Paper with the image below room for a caption; where the room to its right begins."""
    height, width = image.shape[:2]
    v, u = CAPTION_PX + 8, MARGIN_PX + width + 24
    paper = draw.sheet(v + max(height, least_px) + MARGIN_PX, u + LEGEND_PX)
    paper[v : v + height, MARGIN_PX : MARGIN_PX + width] = image
    return paper, u, v


def _rgb(colour: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    red, green, blue = colour.tolist()
    return red, green, blue
