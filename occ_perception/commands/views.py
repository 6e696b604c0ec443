"""Pictures of a run: input, voxels from above and as cubes, occupancy grid, all on one sheet."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import find_stereo
from occ_perception.commands import bag_content
from occ_perception.core.errors import BagError
from occ_perception.viz.cubes import voxel_picture
from occ_perception.viz.draw import Caption, Picture
from occ_perception.viz.pictures import bev_picture, contact_sheet, grid_picture, input_picture

TRUTH = "ground truth"


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
        rows = [_input(bag, caption), *_prediction(bag, topic, caption)]
    truth = _truth(source, Caption(TRUTH, stamp_ns))
    pictures = {
        "input": rows[0][0] if rows[0] else None,
        "birds_eye": _beside(rows[1], truth[:1]),
        "voxels": _beside(rows[2], truth[1:]),
        "occupancy_grid": rows[3][0] if rows[3] else None,
    }
    columns = [rows[1] + truth[:1] + rows[3], rows[2] + truth[1:]]
    title = f"{system} on {source.name}, weights: {weights}"
    pictures["overview"] = contact_sheet([row for row in (rows[0], *columns) if row], title)
    folder.mkdir(parents=True, exist_ok=True)
    return [_save(picture, folder / f"{name}.png") for name, picture in pictures.items() if picture]


def _beside(prediction: list[Picture], truth: list[Picture]) -> Picture:
    return contact_sheet([prediction + truth]) if truth else prediction[0]


def _input(bag: BagReader, caption: Caption) -> list[Picture]:
    pair = bag_content.read_pair(bag, find_stereo(bag), caption.stamp_ns)
    return [] if pair is None else [input_picture(*pair, caption)]


def _prediction(bag: BagReader, topic: str, caption: Caption) -> list[list[Picture]]:
    """Bird's-eye view, voxel view, and the occupancy grid where the bag has it."""
    voxels = bag_content.read_voxels(bag, topic, caption.stamp_ns)
    views = [[view(*_volume(voxels), caption)] for view in (bev_picture, voxel_picture)]
    cells = bag_content.read_occupancy(bag, caption.stamp_ns)
    if cells is None:
        return [*views, []]
    place = (cells.resolution_m, cells.origin_m, cells.frame_id)
    return [*views, [grid_picture(cells.cells, *place, caption)]]


def _truth(source: Path, caption: Caption) -> list[Picture]:
    """Bird's-eye and voxel view of the truth at the same stamp; empty without truth."""
    with BagReader(source) as bag:
        topic = bag_content.voxel_topic(bag, truth=True)
        voxels = topic and bag_content.read_voxels(bag, topic, caption.stamp_ns)
        if not voxels:
            return []
        return [view(*_volume(voxels), caption) for view in (bev_picture, voxel_picture)]


def _volume(voxels: bag_content.Voxels) -> tuple:
    return voxels.labels, voxels.grid, voxels.label_map


def _save(picture: Picture, path: Path) -> Path:
    Image.fromarray(picture.image).save(path)
    return path
