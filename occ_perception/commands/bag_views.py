"""Pictures of a bag's content, for `occ bag pictures`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from occ_perception.bags.index import open_index
from occ_perception.bags.topics import COMPRESSED, TopicKind, kind_of
from occ_perception.core.errors import BagError, ConfigError
from occ_perception.core.labels import load_label_map
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import Matrix, inverse
from occ_perception.viz.bag_pictures import (
    lidar_over_image,
    points_from_above,
    voxels_over_image,
)
from occ_perception.viz.draw import Caption, Picture
from occ_perception.viz.pictures import bev_picture, contact_sheet
from occ_training.data.bag_scene import Bags, BagScene, SampleSpec
from occ_training.data.rectify import FisheyeView
from occ_training.data.samples import Points, View, Voxels

WORLDS = ("odom", "map")
BASE = "base_link"
LIDAR, VOXELS = "lidar", "voxels"
TRUTH = "/ground_truth/"
SINGLE_PX, SEVERAL_PX = 1200, 800  # widths of the images


def draw_bag(bag: Path, output: Path, count: int) -> list[Path]:
    """Draw some instants of a bag.

    Args:
        bag: Folder of an MCAP bag.
        output: Folder for the PNG files.
        count: Instants, evenly spread.

    Returns:
        The files that were written.

    Raises:
        ConfigError: No picture is asked for.
        BagError: The bag has no calibrated camera, or neither LiDAR nor voxels nor images.
    """
    if count < 1:
        raise ConfigError(f"--count {count}: ask for one picture or more")
    scene = open_scene(bag)
    if not len(scene):
        raise BagError(f"bag {bag} has no instant with all its cameras and layers: {scene.dropped}")
    picked = np.linspace(0, len(scene) - 1, min(count, len(scene))).round().astype(int)
    written = []
    for row in scene.anchors[np.unique(picked)].tolist():
        for name, picture in instant(scene, row).items():
            path = output / f"{scene.name}_{row:06d}_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.image).save(path)
            written.append(path)
    scene.close()
    return written


def open_scene(bag: Path) -> BagScene:
    """The bag with its first sweep and voxel topic as layers, and poses where it has them."""
    topics = open_index(bag).topics.values()
    labels = {}
    for name, kind in ((VOXELS, TopicKind.VOXELS), (LIDAR, TopicKind.POINTS)):
        found = [t.name for t in topics if kind_of(t.name, t.msgtype) is kind and len(t)]
        found = [t for t in found if (TRUTH in t) == (name == VOXELS)]
        if found:
            labels[name] = sorted(found, key=len)[0]
    for world in WORLDS:
        spec = SampleSpec(labels=labels, world_frame=world, fisheye=FisheyeView())
        scene = BagScene(Bags(bag), spec)
        if scene.transforms.connects(world, BASE) and len(scene):
            return scene
        scene.close()
    return BagScene(Bags(bag), SampleSpec(labels=labels, fisheye=FisheyeView()))


def instant(scene: BagScene, row: int) -> dict[str, Picture]:
    """The pictures of one instant, by name."""
    layers = scene.labels(row)
    views = [for_display(view, scene) for view in scene.views(row)]
    caption = Caption(scene.name, scene.stamp_ns(row))
    drawn: dict[str, Picture] = {}
    points, voxels = layers.get(LIDAR), layers.get(VOXELS)
    if isinstance(points, Points):
        overlays = [_lidar(view, points, caption) for view in views]
        drawn["lidar_over_image"] = _sheet(overlays)
        T = points.T_base_sensor
        in_base = points.xyz @ T[:3, :3].T + T[:3, 3]
        cameras = [view.frame.camera for view in views]
        drawn["lidar_from_above"] = points_from_above(in_base, cameras, caption, BASE)
    if isinstance(voxels, Voxels) and voxels.labels is not None:
        drawn["voxels_over_image"] = _sheet([_voxels(view, voxels, caption) for view in views])
        labels = load_label_map(voxels.label_map)
        drawn["voxels_from_above"] = bev_picture(voxels.labels, voxels.grid, labels, caption)
    if not drawn:
        images = [view.frame.image for view in views]
        drawn["images"] = _sheet([Picture(image) for image in images])
    return drawn


def for_display(view: View, scene: BagScene) -> View:
    """The view in a size that suits a sheet, with the camera's short name."""
    old = view.frame.camera
    width = SINGLE_PX if len(scene.cameras) == 1 else SEVERAL_PX
    camera = replace(
        old.resized(width, round(old.height * width / old.width)),
        name=old.name.removesuffix(COMPRESSED).rsplit("/", 1)[0],
    )
    image = cv2.resize(view.frame.image, (camera.width, camera.height))
    return replace(view, frame=CameraFrame(image, camera, view.frame.stamp_ns))


def _relative(view: View, T_base_layer: Matrix, T_world_base: Matrix | None) -> Matrix:
    """`T_cam_layer`, with the drive between the two stamps where poses are known."""
    T_cam_base = inverse(view.frame.camera.T_base_cam)
    if view.T_world_base is None or T_world_base is None:
        return T_cam_base @ T_base_layer
    return T_cam_base @ inverse(view.T_world_base) @ T_world_base @ T_base_layer


def _lidar(view: View, points: Points, caption: Caption) -> Picture:
    T = _relative(view, points.T_base_sensor, points.T_world_base)
    return lidar_over_image(view.frame.image, view.frame.camera, points.xyz, T, caption)


def _voxels(view: View, voxels: Voxels, caption: Caption) -> Picture:
    T = _relative(view, voxels.T_base_grid, voxels.T_world_base)
    labels = load_label_map(voxels.label_map)
    image, camera = view.frame.image, view.frame.camera
    return voxels_over_image(image, camera, voxels.labels, voxels.grid, labels, T, caption)


def _sheet(pictures: list[Picture]) -> Picture:
    """Pictures in rows of at most three."""
    columns = 1 if len(pictures) == 1 else 2 if len(pictures) <= 4 else 3
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    return contact_sheet(rows)
