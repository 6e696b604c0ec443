"""Looking into a recording: LiDAR and voxels drawn over its images, sweeps from above.

If calibration, transforms or stamps are wrong, these pictures show it: outlines do not coincide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

from occ_perception.core.camera import Camera
from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.viz import draw
from occ_perception.viz.draw import CAPTION_PX, LEGEND_PX, MARGIN_PX, Caption, Entry, Picture
from occ_perception.viz.palette import FAINT, Image, classes_present, name_of

Floats = npt.NDArray[np.float64]
Matrix = Floats

NEAR_M, FAR_M = 2.0, 60.0
POINT_RADIUS_PER_PX = 1 / 900  # of the image's width
VOXEL_INK = 0.65  # opacity of a voxel over the image
ABOVE_M, ABOVE_PX = 50.0, 720
LOW_M, HIGH_M = -0.5, 4.0  # heights that the colours of the view from above tell apart


@dataclass(frozen=True, eq=False)
class Projected:
    """Points that an image shows.

    Attributes:
        uv: `[n, 2]` pixels.
        depth_m: `[n]` metres along the optical axis.
        index: `[n]` which of the points they are.
    """

    uv: Floats
    depth_m: Floats
    index: npt.NDArray[np.int64]


def project_points(points_m: npt.ArrayLike, camera: Camera, T_cam_points: Matrix) -> Projected:
    """Those of the points that lie in front of the camera and inside its image.

    Args:
        points_m: `[n, 3]` metres.
        camera: Its `P` counts; a right camera's fourth column is a shift that the pose has already.
        T_cam_points: Pose of the points' frame in the optical frame.
    """
    points = np.asarray(points_m, np.float64)
    in_camera = points @ T_cam_points[:3, :3].T + T_cam_points[:3, 3]
    index = np.flatnonzero(in_camera[:, 2] > 0.1)
    uvw = in_camera[index] @ camera.K.T
    uv = uvw[:, :2] / uvw[:, 2:]
    size = np.array([camera.width, camera.height])
    inside = ((uv >= -0.5) & (uv < size - 0.5)).all(axis=1)
    return Projected(uv[inside], uvw[inside, 2], index[inside])


def depth_colours(depth_m: Floats) -> npt.NDArray[np.uint8]:
    """`[n, 3]` RGB, near red to far blue, equal steps of the logarithm."""
    share = np.log(np.clip(depth_m, NEAR_M, FAR_M) / NEAR_M) / np.log(FAR_M / NEAR_M)
    return turbo(1 - share)


def lidar_over_image(
    image: Image, camera: Camera, points_m: npt.ArrayLike, T_cam_points: Matrix, caption: Caption
) -> Picture:
    """A sweep as dots over an image, coloured by depth.

    Args:
        image: `[h, w, 3]` uint8 RGB.
        camera: Of the image.
        points_m: `[n, 3]` metres.
        T_cam_points: Pose of the points' frame in the optical frame.
        caption: What the picture says about itself.
    """
    seen = project_points(points_m, camera, T_cam_points)
    dotted = dots(image, seen.uv, seen.depth_m)
    title = f"{len(seen.index)} LiDAR points in {camera.name}"
    return framed(dotted, caption, title, depth_entries())


def dots(image: Image, uv: Floats, depth_m: Floats) -> Image:
    """A copy of an image with dots coloured by depth, near ones on top.

    Args:
        image: `[h, w, 3]` uint8 RGB.
        uv: `[n, 2]` pixels.
        depth_m: `[n]` metres.
    """
    canvas = image.copy()
    radius = max(1, round(POINT_RADIUS_PER_PX * image.shape[1]))
    colours = depth_colours(depth_m)
    for i in np.argsort(-depth_m).tolist():
        u, v = np.rint(uv[i]).astype(int).tolist()
        cv2.circle(canvas, (u, v), radius, colours[i].tolist(), -1)
    return canvas


def depth_entries() -> list[Entry]:
    """What the colours of depths mean."""
    marks = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)
    shades = depth_colours(np.array(marks)).tolist()
    return [Entry(f"{m:g} m", tuple(c)) for m, c in zip(marks, shades, strict=True)]


def voxels_over_image(
    image: Image,
    camera: Camera,
    labels: npt.NDArray[np.uint8],
    grid: GridSpec,
    label_map: LabelMap,
    T_cam_grid: Matrix,
    caption: Caption,
) -> Picture:
    """Occupied voxels as squares of their size over an image, near ones on top.

    Args:
        image: `[h, w, 3]` uint8 RGB.
        camera: Of the image.
        labels: `[X, Y, Z]` uint8 ids.
        grid: Where the voxels are.
        label_map: Meaning and colours of the ids.
        T_cam_grid: Pose of the grid's frame in the optical frame.
        caption: What the picture says about itself.
    """
    occupied = (labels != label_map.free_id) & (labels != label_map.unknown_id)
    cells = np.argwhere(occupied)
    seen = project_points(grid.center_of(cells), camera, T_cam_grid)
    ids = labels[tuple(cells[seen.index].T)]
    half_px = 0.5 * camera.K[0, 0] * grid.voxel_size_m[0] / seen.depth_m
    palette = label_map.palette()
    canvas = image.copy()
    for i in np.argsort(-seen.depth_m).tolist():
        corner = np.rint(seen.uv[i] - half_px[i]).astype(int).tolist()
        opposite = np.rint(seen.uv[i] + half_px[i]).astype(int).tolist()
        cv2.rectangle(canvas, corner, opposite, palette[ids[i]].tolist(), -1)
    mixed = cv2.addWeighted(canvas, VOXEL_INK, image, 1 - VOXEL_INK, 0)
    entries = [
        Entry(name_of(i, label_map), tuple(palette[i].tolist()))
        for i in classes_present(ids, label_map)
    ]
    return framed(mixed, caption, f"{len(ids)} voxels in {camera.name}", entries)


def points_from_above(
    points_m: npt.ArrayLike, cameras: list[Camera], caption: Caption, frame_id: str
) -> Picture:
    """A sweep from above, coloured by height, with the cameras' fields of view.

    Forward (x) is up and left (y) is left, the base in the middle.

    Args:
        points_m: `[n, 3]` metres in the base frame.
        cameras: With their poses in the base frame.
        caption: What the picture says about itself.
        frame_id: Name of the base frame.
    """
    points = np.asarray(points_m, np.float64)
    scale = ABOVE_PX / (2 * ABOVE_M)
    canvas = np.full((ABOVE_PX, ABOVE_PX, 3), 20, np.uint8)
    cells = np.rint((ABOVE_M - points[:, [1, 0]]) * scale)  # column from y, row from x
    inside = ((cells >= 0) & (cells < ABOVE_PX)).all(axis=1)
    low_first = np.argsort(points[inside, 2])
    column, row = cells[inside][low_first].astype(int).T
    share = (points[inside, 2][low_first] - LOW_M) / (HIGH_M - LOW_M)
    canvas[row, column] = turbo(np.clip(share, 0, 1))
    for camera in cameras:
        _draw_view(canvas, camera, scale)
    for radius_m in (10, 20, 30, 40):
        cv2.circle(canvas, (ABOVE_PX // 2, ABOVE_PX // 2), round(radius_m * scale), FAINT, 1)
    heights = (0.0, 1.0, 2.0, 4.0)
    shades = turbo((np.array(heights) - LOW_M) / (HIGH_M - LOW_M)).tolist()
    entries = [Entry(f"{h:g} m high", tuple(c)) for h, c in zip(heights, shades, strict=True)]
    entries.append(Entry("circles: 10 m", FAINT))
    return framed(canvas, caption, f"LiDAR from above, {frame_id}, forward is up", entries)


def _draw_view(canvas: Image, camera: Camera, scale: float) -> None:
    """Two lines along the left and right edge of what a camera sees, 8 m long."""
    edges = np.array([[0.0, camera.P[1, 2], 1.0], [camera.width - 1.0, camera.P[1, 2], 1.0]])
    rays = edges @ np.linalg.inv(camera.K).T @ camera.T_base_cam[:3, :3].T
    start = camera.T_base_cam[:2, 3]
    for ray in rays:
        end = start + 8.0 * ray[:2] / np.linalg.norm(ray[:2])
        pixels = [np.rint((ABOVE_M - p[::-1]) * scale).astype(int).tolist() for p in (start, end)]
        cv2.line(canvas, *pixels, (255, 255, 255), 1, cv2.LINE_AA)


def turbo(share: Floats) -> npt.NDArray[np.uint8]:
    """Colours `[n, 3]` RGB of numbers 0..1."""
    levels = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]


def framed(image: Image, caption: Caption, title: str, entries: list[Entry]) -> Picture:
    """An image `[h, w, 3]` uint8 RGB on paper, with caption above and legend beside it."""
    height, width = image.shape[:2]
    rows = max(height, len(entries) * draw.LINE_PX)
    paper = draw.sheet(CAPTION_PX + rows + MARGIN_PX, max(width + 3 * MARGIN_PX + LEGEND_PX, 700))
    paper[CAPTION_PX : CAPTION_PX + height, MARGIN_PX : MARGIN_PX + width] = image

    def strokes(pen: ImageDraw.ImageDraw) -> None:
        draw.write_caption(pen, caption, title)
        draw.write_legend(pen, entries, width + 2 * MARGIN_PX, CAPTION_PX)

    return Picture(draw.drawn(paper, strokes))
