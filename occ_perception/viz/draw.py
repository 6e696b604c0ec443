"""What every picture shares: caption, legend, metre axes, scale bar, robot marker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from occ_perception.viz.palette import FAINT, INK, PAPER, ROBOT, UNKNOWN, UNKNOWN_LINE, Image, Rgb

Array = npt.NDArray[np.float64]
Point = tuple[float, float]

TITLE_PX, TEXT_PX, TICK_PX = 21, 15, 13
LINE_PX = 20
MARGIN_PX = 16
CAPTION_PX = 72
LEGEND_PX = 190
SWATCH_PX = 14


@dataclass(frozen=True)
class Caption:
    """What a picture must say about itself.

    Attributes:
        system: Who made the content, e.g. "vlscene"; "ground truth" for truth.
        stamp_ns: Stamp of the images that it answers.
        weights: File of the weights, or "random"; empty where there are none.
        note: Anything else, e.g. the frame.
    """

    system: str
    stamp_ns: int
    weights: str = ""
    note: str = ""

    def lines(self, title: str) -> tuple[str, str]:
        """Title line and the line below it."""
        weights = f"weights: {self.weights}" if self.weights else ""
        parts = (stamp_text(self.stamp_ns), weights, self.note)
        return f"{self.system}: {title}", "   ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False)
class Picture:
    """A finished picture, and where in it a place is.

    Attributes:
        image: `[h, w, 3]` uint8 RGB.
        pixel_from_metre: `[2, 4]` affine map from (x, y, z, 1) in the grid's frame to pixels
            (u, v); None where a picture shows no space.
    """

    image: Image
    pixel_from_metre: Array | None = None

    def pixel_of(self, point_m: Sequence[float]) -> tuple[int, int]:
        """Pixel (u, v) at which a point (x, y, z) in the grid's frame lies."""
        if self.pixel_from_metre is None:
            raise ValueError("this picture shows no space")
        u, v = self.pixel_from_metre @ (*point_m, 1.0)
        return round(u), round(v)


@dataclass(frozen=True)
class Entry:
    """One line of a legend; `color` None means the unknown pattern."""

    name: str
    color: Rgb | None


def stamp_text(stamp_ns: int) -> str:
    """Stamp in seconds with all digits, and as a date where it is one."""
    seconds, rest = divmod(stamp_ns, 10**9)
    text = f"stamp {seconds}.{rest:09d} s"
    if seconds < 10**9:  # simulated time starts at zero
        return text
    return f"{text} ({datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC)"


@cache
def font(size_px: int) -> ImageFont.FreeTypeFont:
    """The font that Pillow carries."""
    return ImageFont.load_default(size_px)


def sheet(height: int, width: int) -> Image:
    """Empty paper, `[height, width, 3]`."""
    return np.full((height, width, 3), PAPER, np.uint8)


def drawn(image: Image, strokes: Callable[[ImageDraw.ImageDraw], None]) -> Image:
    """The image with strokes on it."""
    canvas = Pillow.fromarray(image)
    strokes(ImageDraw.Draw(canvas))
    return np.asarray(canvas)


def write_caption(pen: ImageDraw.ImageDraw, caption: Caption, title: str) -> None:
    """Title and stamp in the upper left corner."""
    first, second = caption.lines(title)
    pen.text((MARGIN_PX, 10), first, INK, font(TITLE_PX))
    pen.text((MARGIN_PX, 38), second, FAINT, font(TEXT_PX))


def write_legend(pen: ImageDraw.ImageDraw, entries: Sequence[Entry], u: int, v: int) -> None:
    """Swatches with names below each other, from (u, v) down."""
    for row, entry in enumerate(entries):
        top = v + row * LINE_PX
        area = (u, top, u + SWATCH_PX, top + SWATCH_PX)
        pen.rectangle(area, fill=entry.color or UNKNOWN, outline=FAINT)
        if entry.color is None:
            for shift in (SWATCH_PX // 2, SWATCH_PX, 3 * SWATCH_PX // 2):
                inner = max(0, shift - SWATCH_PX)
                start, end = (u + shift - inner, top + inner), (u + inner, top + shift - inner)
                pen.line((start, end), fill=UNKNOWN_LINE)
        pen.text((u + SWATCH_PX + 8, top - 3), entry.name, INK, font(TEXT_PX))


def scale_bar(pen: ImageDraw.ImageDraw, start: Point, length_px: float, length_m: float) -> None:
    """A horizontal bar from `start` to the right, with its length above it."""
    u, v = start
    pen.rectangle((u, v, u + length_px, v + 4), fill=INK)
    pen.text((u + length_px / 2, v - 4), f"{length_m:g} m", INK, font(TICK_PX), anchor="ms")


def robot(pen: ImageDraw.ImageDraw, project: Callable[[Point], Point], length_m: float) -> None:
    """An arrow head at the frame's origin that points forward."""
    outline = [(0.6, 0.0), (-0.4, 0.45), (-0.15, 0.0), (-0.4, -0.45)]
    corners = [project((length_m * x, length_m * y)) for x, y in outline]
    pen.polygon(corners, fill=ROBOT, outline=PAPER)


def ticks(low_m: float, high_m: float, most: int = 8) -> list[float]:
    """Round values in a range, at most about `most` of them."""
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 500) if (high_m - low_m) / s <= most)
    return [k * step for k in range(int(np.ceil(low_m / step)), int(high_m / step) + 1)]


def round_length(span_m: float) -> float:
    """A round length of about a fifth of a span, for scale bars."""
    return max((s for s in (0.5, 1, 2, 5, 10, 20, 50) if s <= span_m / 4), default=0.5)
