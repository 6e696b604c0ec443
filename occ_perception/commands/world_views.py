"""Pictures of a frame of the procedural world: what every sensor sees, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from occ_perception.core.labels import load_label_map
from occ_perception.geometry.transforms import inverse
from occ_perception.viz.bag_pictures import depth_colours, depth_entries, dots, framed
from occ_perception.viz.draw import Caption, Entry, Picture
from occ_perception.viz.pictures import bev_picture, contact_sheet
from occ_training.world.classes import Class, lookup, palette
from occ_training.world.frames import Frame
from occ_training.world.lidar import LidarSweep
from occ_training.world.render import CameraRender
from occ_training.world.scene import Scene

WIDE_PX, SQUARE_PX = 800, 420
FORWARD = 0.3  # how much of an axis points forward, for the upper row
SKY = (20, 20, 20)
# Which data set's names the voxels of a rig's grid have.
LABEL_MAPS = {
    "kitti": ("semantickitti", "semantickitti"),
    "kitti00": ("semantickitti", "semantickitti"),
    "kitti360": ("sscbench", "sscbench_kitti360"),
}
OCC3D = ("occ3d", "occ3d_nuscenes")

RgbImage = npt.NDArray[np.uint8]


def draw_frame(scene: Scene, frame: Frame, folder: Path) -> list[Path]:
    """Draw images, distances, classes, the sweep over the images and the voxels from above.

    Args:
        scene: The scene.
        frame: A frame with colour.
        folder: Where the PNG files go.

    Returns:
        The files; the last one is an overview.
    """
    config = scene.config
    name = f"{config.rig}_{config.preset}_{config.seed}_{frame.index:04d}"
    caption = Caption(f"procedural world, {config.rig}, seed {config.seed}", frame.stamp_ns)
    rows = {
        "images": _of_cameras(frame, caption, "image", _image, []),
        "distance": _of_cameras(frame, caption, "distance", _distance, depth_entries()),
        "classes": _of_cameras(frame, caption, "classes", _classes, _class_entries(frame)),
    }
    if frame.sweep is not None:
        over = _of_cameras(
            frame, caption, "LiDAR", lambda p: _sweep_over(p, frame.sweep), depth_entries()
        )
        rows["lidar"] = over
    if frame.voxels is not None:
        rows["truth"] = [_truth(scene, frame, caption)]
    sheets = {kind: contact_sheet(pictures) for kind, pictures in rows.items()}
    every = [row for pictures in rows.values() for row in pictures]
    sheets["overview"] = contact_sheet(every, caption.system)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, sheet in sheets.items():
        paths.append(folder / f"{name}_{kind}.png")
        Image.fromarray(sheet.image).save(paths[-1])
    return paths


def arranged(renders: Sequence[CameraRender], frame: Frame) -> list[list[CameraRender]]:
    """Cameras as they look around: forward ones above, each row from left to right."""
    rows: tuple[list, list] = ([], [])
    for render in renders:
        forward, left, _ = frame.T_world_base[:3, :3].T @ render.T_world_cam[:3, 2]
        rows[int(forward < FORWARD)].append((-round(float(left), 1), render))
    out = []
    for row in rows:
        sorted_row = [render for _, render in sorted(row, key=lambda pair: pair[0])]
        width = 2 if len(sorted_row) == 4 else 3
        out += [sorted_row[i : i + width] for i in range(0, len(sorted_row), width)]
    return out


def _of_cameras(
    frame: Frame,
    caption: Caption,
    title: str,
    image_of: Callable[[CameraRender], RgbImage],
    entries: list[Entry],
) -> list[list[Picture]]:
    """One picture per camera, in rows."""
    rows = arranged(list(frame.pictures.values()), frame)
    return [
        [framed(_enlarged(image_of(p)), caption, f"{p.camera.name}, {title}", entries) for p in row]
        for row in rows
    ]


def _enlarged(image: RgbImage) -> RgbImage:
    """The image in a size for looking at; small ones show their pixels."""
    height, width = image.shape[:2]
    wanted = WIDE_PX if width > 1.3 * height else SQUARE_PX
    size = (wanted, round(height * wanted / width))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if width > wanted else 0)


def _image(render: CameraRender) -> RgbImage:
    """As it is stored: grey cameras grey."""
    if not render.camera.grey:
        return render.rgb
    return cv2.cvtColor(cv2.cvtColor(render.rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _distance(render: CameraRender) -> RgbImage:
    """Near red to far blue; what is no surface is dark."""
    metres = np.where(render.surface, render.distance_m, 1.0).astype(np.float64)
    image = depth_colours(metres.ravel()).reshape(*metres.shape, 3)
    return np.where(render.surface[..., None], image, np.uint8(SKY))


def _classes(render: CameraRender) -> RgbImage:
    return palette()[render.class_id]


def _class_entries(frame: Frame) -> list[Entry]:
    seen = np.unique(np.concatenate([np.unique(p.class_id) for p in frame.pictures.values()]))
    colours = palette()
    return [
        Entry(Class(i).name.lower().replace("_", " "), tuple(colours[i].tolist()))
        for i in seen.tolist()
        if i
    ]


def _sweep_over(render: CameraRender, sweep: LidarSweep) -> RgbImage:
    """Points of the sweep where the lens shows them, fisheyes too."""
    T = inverse(render.T_world_cam)
    points = sweep.world @ T[:3, :3].T + T[:3, 3]
    uv, inside = render.camera.lens.project(points)
    distance = np.linalg.norm(points[inside], axis=1)
    image = _enlarged(render.rgb)
    scale = image.shape[1] / render.rgb.shape[1]
    return dots(image, (uv[inside] + 0.5) * scale - 0.5, distance)


def _truth(scene: Scene, frame: Frame, caption: Caption) -> list[Picture]:
    """Voxels from above: what is there, and what scanning the drive tells of it."""
    table, name = LABEL_MAPS.get(scene.rig.name, OCC3D)
    labels = load_label_map(name)
    volumes = {"exact voxels from above": frame.voxels.exact.labels}
    if frame.voxels.sensed is not None:
        volumes["sensed voxels from above"] = frame.voxels.sensed.labels
    return [
        bev_picture(lookup(table)[volume].astype(np.uint8), scene.rig.grid, labels, caption, title)
        for title, volume in volumes.items()
    ]
