"""Pictures of a run: input, voxels from above and as cubes, occupancy grid, all on one sheet."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from occ_perception.bags.reader import BagReader
from occ_perception.bags.stereo import find_stereo
from occ_perception.commands import bag_content
from occ_perception.core.errors import BagError
from occ_perception.ros.settings import OutputSettings
from occ_perception.ros.volume import Volume
from occ_perception.viz.cubes import voxel_picture
from occ_perception.viz.draw import Caption, Picture
from occ_perception.viz.pictures import bev_picture, contact_sheet, grid_picture, input_picture

TRUTH = "ground truth"

# Pictures that belong beside each other, by name.
Rows = dict[str, list[Picture]]


def draw_run(output: Path, source: Path, folder: Path, system: str, weights: str) -> list[Path]:
    """Draw the first answered stereo pair of a run.

    Args:
        output: Bag with the node's grids and its input images.
        source: Bag that was played; its ground truth is drawn beside the prediction, if any.
        folder: Where the PNG files go.
        system: Name of the system, for the captions.
        weights: File of the weights, or "random".

    Returns:
        The files: input, bird's-eye view, voxel view, occupancy grid and an overview.

    Raises:
        BagError: The output has no grid, or cannot be read.
    """
    with BagReader(output) as bag:
        topic = bag_content.voxel_topic(bag, truth=False)
        if topic is None:
            raise BagError(f"bag {output} holds no voxel grid: nothing was published")
        stamp_ns = bag_content.stamps(bag, topic)[0]
        caption = Caption(system, stamp_ns, weights)
        rows = _input(bag, caption) | _prediction(bag, topic, caption)
    for name, pictures in _truth(source, Caption(TRUTH, stamp_ns)).items():
        rows[name] = rows.get(name, []) + pictures
    sheets = {name: contact_sheet([row]) for name, row in rows.items()}
    if len(rows["birds_eye"]) == 1 and "occupancy_grid" in rows:  # no truth: both maps in one row
        rows["birds_eye"] += rows.pop("occupancy_grid")
    title = f"{system} on {source.name}, weights: {weights}"
    sheets["overview"] = contact_sheet(list(rows.values()), title)
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(sheet, folder / f"{name}.png") for name, sheet in sheets.items()]


def _input(bag: BagReader, caption: Caption) -> Rows:
    pair = bag_content.read_pair(bag, find_stereo(bag), caption.stamp_ns)
    return {} if pair is None else {"input": [input_picture(*pair, caption)]}


def _prediction(bag: BagReader, topic: str, caption: Caption) -> Rows:
    """Bird's-eye view, voxel view, and the occupancy grid where the bag has it."""
    rows = _views(bag_content.read_voxels(bag, topic, caption.stamp_ns), caption)
    cells = bag_content.read_occupancy(bag, caption.stamp_ns)
    if cells is not None:
        place = (cells.resolution_m, cells.origin_m, cells.frame_id)
        rows["occupancy_grid"] = [grid_picture(cells.cells, *place, caption)]
    return rows


def _truth(source: Path, caption: Caption) -> Rows:
    """The same of the ground truth of a stamp; nothing without truth."""
    with BagReader(source) as bag:
        topic = bag_content.voxel_topic(bag, truth=True)
        voxels = bag_content.read_voxels(bag, topic, caption.stamp_ns) if topic else None
    if voxels is None:
        return {}
    return {**_views(voxels, caption), "occupancy_grid": [_footprint(voxels, caption)]}


def _views(voxels: bag_content.Voxels, caption: Caption) -> Rows:
    volume = (voxels.labels, voxels.grid, voxels.label_map)
    return {
        "birds_eye": [bev_picture(*volume, caption)],
        "voxels": [voxel_picture(*volume, caption)],
    }


def _footprint(voxels: bag_content.Voxels, caption: Caption) -> Picture:
    """The occupancy grid that the node would make of voxels, with its default height band."""
    output, grid = OutputSettings(), voxels.grid
    volume = Volume(voxels.labels, None, None, grid, voxels.label_map, voxels.stamp_ns)
    layers = grid.slab(output.min_height_m, output.max_height_m)
    cells = volume.footprint(layers, output.blocking_table(voxels.label_map)).T
    corner_m = (grid.origin_m[0], grid.origin_m[1])
    return grid_picture(cells, grid.voxel_size_m[0], corner_m, grid.frame_id, caption)


def _save(picture: Picture, path: Path) -> Path:
    Image.fromarray(picture.image).save(path)
    return path
