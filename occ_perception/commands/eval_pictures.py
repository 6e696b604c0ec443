"""Pictures of an evaluation: bars per class, the confusion of classes, the worst frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.scoring import Confusion, Judged
from occ_perception.eval.voxel_truth import Labels, VoxelTopic, has_voxels
from occ_perception.systems.roles import STEREO
from occ_perception.viz.cubes import voxel_picture
from occ_perception.viz.draw import Caption, Picture
from occ_perception.viz.pictures import bev_picture, contact_sheet, input_picture
from occ_perception.viz.surround_pictures import rig_picture


def draw_bars(document: Mapping[str, Any], benchmark: str, path: Path) -> None:
    """IoU of every class, one bar per column of the benchmark's table."""
    columns = document["classes"][benchmark]
    names = list(next(iter(columns.values())))
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.add_subplot(title=_title(document), ylabel="IoU, %")
    width, places = 0.8 / len(columns), np.arange(len(names))
    for number, (column, scores) in enumerate(columns.items()):
        shade = 0.35 + 0.55 * (number + 1) / len(columns)
        axes.bar(
            places + (number - (len(columns) - 1) / 2) * width,
            [100 * (scores[name] or 0.0) for name in names],
            width, color=(1 - shade, 1 - 0.7 * shade, 0.95), edgecolor="black", linewidth=0.4,
            label=column,
        )  # fmt: skip
    axes.set_xticks(places, names, rotation=45, ha="right")
    axes.legend()
    _save(figure, path)


def draw_confusion(document: Mapping[str, Any], confusion: Confusion, path: Path) -> None:
    """Share of each true class (rows) that was answered as each class (columns)."""
    counts = confusion.counts.astype(float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.add_subplot(title=_title(document), xlabel="answer", ylabel="truth")
    picture = axes.imshow(shares, cmap="magma", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the true class")
    places = np.arange(len(confusion.names))
    axes.set_xticks(places, confusion.names, rotation=90)
    axes.set_yticks(places, confusion.names)
    _save(figure, path)


def draw_worst(
    document: Mapping[str, Any], worst: Sequence[Judged], frames: Sequence[BagFrames],
    labels: LabelMap, folder: Path, topic: str = "",
) -> list[Path]:  # fmt: skip
    """The frames with the lowest score: images, truth if voxels have one, and answer."""
    paths = []
    for number, judged in enumerate(worst, start=1):
        source, stamp_ns = frames[judged.place.bag], judged.place.stamp_ns
        about = Caption(document["about"]["system"], stamp_ns)
        answer = _views(_shown(judged, labels), judged.answer.grid, labels, about)
        truth = _truth_views(source.bag, topic, stamp_ns)
        rows = [*image_rows(source, stamp_ns), *truth, answer]
        paths.append(folder / f"worst_{number}_{stamp_ns}.png")
        Image.fromarray(contact_sheet(rows).image).save(paths[-1])
    return paths


def image_rows(source: BagFrames, stamp_ns: int) -> list[list[Picture]]:
    """What the cameras saw."""
    found = source.at(stamp_ns)
    if found is None:
        return []
    caption = Caption("images", stamp_ns)
    images = {frame.camera.name: frame.image for frame in found.frames}
    if tuple(images) == STEREO:
        return [[input_picture(*images.values(), caption)]]
    return [[rig_picture(images, caption)]]


def _shown(judged: Judged, labels: LabelMap) -> Labels:
    """Ids of an answer, unknown where the system says nothing."""
    answer = judged.answer
    ids = answer.labels.cpu().numpy().copy()
    if answer.known is not None:
        ids[~answer.known.cpu().numpy()] = labels.unknown_id
    return ids


def _truth_views(bag: Path, topic: str, stamp_ns: int) -> list[list[Picture]]:
    """A row with the voxel truth; none where depth or pixels alone have one."""
    if not topic and not has_voxels(bag):
        return []
    truth = VoxelTopic(bag, topic, truth=True)
    known = truth.at(stamp_ns)
    if known is None:
        return []
    return [_views(known, truth.grid, truth.label_map, Caption("ground truth", stamp_ns))]


def _views(ids: Labels, grid: GridSpec, labels: LabelMap, caption: Caption) -> list[Picture]:
    return [voxel_picture(ids, grid, labels, caption), bev_picture(ids, grid, labels, caption)]


def _title(document: Mapping[str, Any]) -> str:
    about = document["about"]
    bags = about["bags"]
    name = bags[0] if len(bags) == 1 else f"{len(bags)} bags"
    return f"{about['system']} on {name}, {document['frames']} frames"


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
