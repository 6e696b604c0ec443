"""Pictures of an evaluation: bars per class, the confusion of classes, the worst frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from occ_perception.core.grid import GridSpec
from occ_perception.core.labels import LabelMap
from occ_perception.eval.bag_eval import Predict
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.voxel_truth import VoxelTopic
from occ_perception.viz.cubes import voxel_picture
from occ_perception.viz.draw import Caption, Picture
from occ_perception.viz.pictures import bev_picture, contact_sheet, input_picture


def draw_bars(document: Mapping[str, Any], labels: LabelMap, path: Path) -> None:
    """IoU of every class, one bar per range."""
    ranges = document["ranges_m"]
    names = labels.names[1:]
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.add_subplot(title=_title(document), ylabel="IoU, %")
    width = 0.8 / len(ranges)
    places = np.arange(len(names))
    for number, (range_m, entry) in enumerate(ranges.items()):
        heights = [100 * entry["class_iou"].get(name, 0.0) for name in names]
        colours = np.array(labels.colors_rgb[1:]) / 255
        shade = (number + 1) / len(ranges)
        axes.bar(
            places + (number - (len(ranges) - 1) / 2) * width, heights, width,
            color=1 - shade * (1 - colours), edgecolor="black", linewidth=0.4,
            label=f"up to {range_m} m",
        )  # fmt: skip
    axes.set_xticks(places, names, rotation=45, ha="right")
    axes.legend()
    _save(figure, path)


def draw_confusion(document: Mapping[str, Any], labels: LabelMap, path: Path) -> None:
    """Share of each true class (rows) that was answered as each class (columns)."""
    counts = np.array(document["confusion"], float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(10, 9), layout="constrained")
    axes = figure.add_subplot(title=_title(document), xlabel="answer", ylabel="truth")
    picture = axes.imshow(shares, cmap="magma", vmin=0, vmax=1)
    figure.colorbar(picture, label="share of the true class")
    places = np.arange(len(labels.names))
    axes.set_xticks(places, labels.names, rotation=90)
    axes.set_yticks(places, labels.names)
    _save(figure, path)


def draw_frame(
    truth: VoxelTopic, predict: Predict, frames: BagFrames | None, stamp_ns: int, name: str
) -> Picture:
    """A frame's images, truth and answer side by side."""
    rows: list[list[Picture]] = []
    pair = None if frames is None else frames.at(stamp_ns)
    if pair is not None:
        left, right = (frame.image for frame in pair.frames)
        rows.append([input_picture(left, right, Caption("images", stamp_ns))])
    for who, labels in (("ground truth", _shown(truth, stamp_ns)), (name, predict(stamp_ns))):
        if labels is not None:
            rows.append(_views(labels, truth.grid, truth.label_map, Caption(who, stamp_ns)))
    return contact_sheet(rows)


def draw_worst(
    document: Mapping[str, Any], truth: VoxelTopic, predict: Predict,
    frames: BagFrames | None, folder: Path, count: int,
) -> list[Path]:  # fmt: skip
    """The frames with the lowest mIoU, one picture each."""
    paths = []
    stamps: Sequence[int] = [entry["stamp_ns"] for entry in document["worst"][:count]]
    for number, stamp_ns in enumerate(stamps):
        picture = draw_frame(truth, predict, frames, stamp_ns, document["about"]["system"])
        paths.append(folder / f"worst_{number + 1}_{stamp_ns}.png")
        Image.fromarray(picture.image).save(paths[-1])
    return paths


def _shown(truth: VoxelTopic, stamp_ns: int) -> npt.NDArray[np.uint8] | None:
    return truth.at(stamp_ns)


def _views(
    labels: npt.NDArray[np.uint8], grid: GridSpec, label_map: LabelMap, caption: Caption
) -> list[Picture]:
    return [
        voxel_picture(labels, grid, label_map, caption),
        bev_picture(labels, grid, label_map, caption),
    ]


def _title(document: Mapping[str, Any]) -> str:
    about = document["about"]
    return f"{about['system']} on {about['bag']}, {document['frames']} frames"


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
