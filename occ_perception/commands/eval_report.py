"""What `occ eval` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from occ_perception.core.labels import LabelMap
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.report import Grid, class_grid, score_grid, write_document
from occ_perception.eval.scoring import Outcome


def show(document: Mapping[str, Any], console: Console) -> None:
    """Print the tables."""
    what = document["about"]
    shuffled = ", shuffled images" if what["shuffled images"] else ""
    console.print(
        f"{what['system']} ({what['weights']}, {what['way']}{shuffled}) on {_bags(what['bags'])}, "
        f"{document['frames']} frames"
    )
    for name, scores in document["scores"].items():
        floors = {f: found[name] for f, found in document["floors"].items() if name in found}
        console.print(_table(name, score_grid(scores, floors)))
        columns = document["classes"].get(name)
        if columns:
            console.print(_table("IoU % per class", class_grid(columns)))
    if document["missing"]:
        console.print(f"[yellow]{len(document['missing'])} frames have no prediction[/]")
    if document["latency"]:
        times = {k: v for k, v in document["latency"].items() if k.endswith("_s")}
        text = "  ".join(f"{k.removesuffix('_s')} {1e3 * v:.0f} ms" for k, v in times.items())
        dropped = sum(document["latency"]["dropped"].values())
        console.print(f"latency: {text}; dropped {dropped}")


def _bags(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} bags"


def _table(title: str, grid: Grid) -> Table:
    table = Table(title=title, title_justify="left")
    for number, name in enumerate(grid.columns):
        table.add_column(escape(name), justify="right" if number else "left")
    for row in grid.rows:
        table.add_row(*map(escape, row))
    return table


def write_report(
    document: dict[str, Any], outcome: Outcome, frames: Sequence[BagFrames], labels: LabelMap,
    folder: Path, topic: str,
) -> None:  # fmt: skip
    """The folder with report.json and pictures.

    Args:
        document: Everything as plain values.
        outcome: With the worst answers.
        frames: Images of the bags.
        labels: Meaning of the ids in the answers.
        folder: Where it goes.
        topic: Topic of the voxel truth; empty = the only one.
    """
    from occ_perception.commands.eval_pictures import draw_bars, draw_confusion, draw_worst

    write_document(folder / "report.json", document)
    for name, columns in outcome.classes.items():
        if columns:
            draw_bars(document, name, folder / _picture("classes", name, outcome))
    for name, confusion in outcome.confusions.items():
        draw_confusion(document, confusion, folder / _picture("confusion", name, outcome))
    draw_worst(document, outcome.worst, frames, labels, folder, topic)


def _picture(kind: str, name: str, outcome: Outcome) -> str:
    """Name of a picture file; with several benchmarks each has its own."""
    only = len(outcome.scores) == 1
    return f"{kind}.png" if only else f"{kind}_{name.replace(' ', '_')}.png"
