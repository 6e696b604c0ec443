"""Pictures of a run: input, voxels from above and as cubes, occupancy grid, all on one sheet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from occ_perception.bags.reader import BagReader
from occ_perception.bags.rigs import find_rig
from occ_perception.commands import bag_content
from occ_perception.core.errors import BagError
from occ_perception.ros.system_settings import SETTINGS
from occ_perception.ros.topics import OFFER_TOPICS
from occ_perception.ros.volume import Volume
from occ_perception.systems.roles import OFFERS, ROLES, STEREO
from occ_perception.viz.cubes import voxel_picture
from occ_perception.viz.draw import Caption, Picture
from occ_perception.viz.image_pictures import class_picture, depth_picture, feature_picture
from occ_perception.viz.pictures import bev_picture, contact_sheet, grid_picture, input_picture
from occ_perception.viz.surround_pictures import (
    gaussian_picture,
    rig_picture,
    similarity_picture,
)

TRUTH = "ground truth"

# Cosines [X, Y, Z] by text.
Similar = Mapping[str, npt.NDArray[np.floating]]
# Pictures that belong beside each other, by name.
Rows = dict[str, list[Picture]]


def draw_run(
    output: Path,
    source: Path,
    folder: Path,
    system: str,
    weights: str,
    similar: Similar | None = None,
) -> list[Path]:
    """Draw an answered set of a run: the first, of a system with history the last.

    Args:
        output: Bag with the node's grids and its input images.
        source: Bag that was played; its ground truth is drawn beside the prediction, if any.
        folder: Where the PNG files go.
        system: Name of the system, for the captions.
        weights: File of the weights, or "random".
        similar: Cosines `[X, Y, Z]` of the last set's voxels with texts.

    Returns:
        The files: input, what the system offers beside voxels, bird's-eye view, voxel view,
        occupancy grid and an overview.

    Raises:
        BagError: The output has no grid, or cannot be read.
    """
    with BagReader(output) as bag:
        topic = bag_content.voxel_topic(bag, truth=False)
        if topic is None:
            raise BagError(f"bag {output} holds no voxel grid: nothing was published")
        has_history = len(ROLES[system]) > len(STEREO)
        stamp_ns = bag_content.stamps(bag, topic)[-1 if has_history else 0]
        caption = Caption(system, stamp_ns, weights)
        rows = _input(bag, system, caption) | _extras(bag, system, caption)
        rows |= _gaussians(bag, topic, caption) | _prediction(bag, topic, caption)
        rows |= _similar(bag, topic, similar or {}, caption)
    for name, pictures in _truth(source, system, Caption(TRUTH, stamp_ns)).items():
        rows[name] = rows.get(name, []) + pictures
    sheets = {name: contact_sheet([row]) for name, row in rows.items()}
    if len(rows["birds_eye"]) == 1 and "occupancy_grid" in rows:  # no truth: both maps in one row
        rows["birds_eye"] += rows.pop("occupancy_grid")
    title = f"{system} on {source.name}, weights: {weights}"
    sheets["overview"] = contact_sheet(list(rows.values()), title)
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(sheet, folder / f"{name}.png") for name, sheet in sheets.items()]


def _input(bag: BagReader, system: str, caption: Caption) -> Rows:
    roles = ROLES[system]
    images = bag_content.read_images(bag, find_rig(bag, roles), caption.stamp_ns)
    if not images:
        return {}
    if roles == STEREO and "left" in images:
        return {"input": [input_picture(images["left"], images.get("right"), caption)]}
    return {"input": [rig_picture(images, caption)]}


def _extras(bag: BagReader, system: str, caption: Caption) -> Rows:
    """What the system says about the pixels of its image."""
    rows: Rows = {}
    for offer in OFFERS.get(system, ()):
        output = OFFER_TOPICS[offer][0]
        if offer == "gaussians":  # no picture, see `_gaussians`
            continue
        pixels = bag_content.read_picture(bag, f"/{system}_node/{output}", caption.stamp_ns)
        if pixels is None:
            continue
        if "depth" in offer:
            title = "rendered depth" if offer == "depth" else "predicted depth"
            rows[output] = [depth_picture(pixels, caption, title)]
        elif offer == "feature_picture":
            rows[output] = [feature_picture(pixels, caption)]
        else:
            rows[output] = [_classes(bag, pixels, caption)]
    return rows


def _classes(bag: BagReader, colours: npt.NDArray[np.uint8], caption: Caption) -> Picture:
    """The legend's ids of a coloured picture of classes."""
    labels = bag_content.read_voxels(
        bag, bag_content.voxel_topic(bag, truth=False), caption.stamp_ns
    ).label_map
    code = labels.palette().astype(np.int64) @ [65536, 256, 1]
    pixels = colours.astype(np.int64) @ [65536, 256, 1]
    ids = np.full(pixels.shape, labels.unknown_id, np.uint8)
    for i in labels.ids:
        ids[pixels == code[i]] = i
    return class_picture(ids, labels, caption)


def _gaussians(bag: BagReader, topic: str, caption: Caption) -> Rows:
    found = bag_content.read_gaussians(bag, caption.stamp_ns)
    if found is None:
        return {}
    scene, labels = found
    grid = bag_content.read_voxels(bag, topic, caption.stamp_ns).grid
    return {"gaussians": [gaussian_picture(scene, grid, labels, caption)]}


def _similar(bag: BagReader, topic: str, similar: Similar, caption: Caption) -> Rows:
    """One map per text, side by side."""
    if not similar:
        return {}
    voxels = bag_content.read_voxels(bag, topic, caption.stamp_ns)
    return {
        "similarity": [
            similarity_picture(cosines, voxels.occupied, voxels.grid, text, caption)
            for text, cosines in similar.items()
        ]
    }


def _prediction(bag: BagReader, topic: str, caption: Caption) -> Rows:
    """Bird's-eye view, voxel view, and the occupancy grid where the bag has it."""
    rows = _views(bag_content.read_voxels(bag, topic, caption.stamp_ns), caption)
    cells = bag_content.read_occupancy(bag, caption.stamp_ns)
    if cells is not None:
        place = (cells.resolution_m, cells.origin_m, cells.frame_id)
        rows["occupancy_grid"] = [grid_picture(cells.cells, *place, caption)]
    return rows


def _truth(source: Path, system: str, caption: Caption) -> Rows:
    """The same of the ground truth of a stamp; nothing without truth."""
    with BagReader(source) as bag:
        topic = bag_content.voxel_topic(bag, truth=True)
        stamp_ns = bag_content.nearest_stamp(bag, topic, caption.stamp_ns) if topic else None
        voxels = None if stamp_ns is None else bag_content.read_voxels(bag, topic, stamp_ns)
    if voxels is None:
        return {}
    return {**_views(voxels, caption), "occupancy_grid": [_footprint(voxels, system, caption)]}


def _views(voxels: bag_content.Voxels, caption: Caption) -> Rows:
    volume = (voxels.labels, voxels.grid, voxels.label_map)
    return {
        "birds_eye": [bev_picture(*volume, caption)],
        "voxels": [voxel_picture(*volume, caption)],
    }


def _footprint(voxels: bag_content.Voxels, system: str, caption: Caption) -> Picture:
    """The occupancy grid that the node would make of voxels, with its default height band."""
    output, grid = SETTINGS[system]().output, voxels.grid
    volume = Volume(voxels.labels, None, None, grid, voxels.label_map, voxels.stamp_ns)
    layers = grid.slab(output.min_height_m, output.max_height_m)
    cells = volume.footprint(layers, output.blocking_table(voxels.label_map)).T
    corner_m = (grid.origin_m[0], grid.origin_m[1])
    return grid_picture(cells, grid.voxel_size_m[0], corner_m, grid.frame_id, caption)


def _save(picture: Picture, path: Path) -> Path:
    Image.fromarray(picture.image).save(path)
    return path
