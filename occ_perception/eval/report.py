"""What an evaluation has found, as a JSON document and as rows of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from occ_perception.eval.scoring import Outcome, Place, Scores

UNDEFINED = "undefined"
_WHOLE = "all"
_RANGED = re.compile(r"(.+) (\d[\d.]* m)")


@dataclass(frozen=True)
class Latency:
    """How long a live node took.

    Attributes:
        mean_s: Mean over the published sets.
        p50_s: Median.
        p99_s: 99th percentile.
        max_s: Longest.
        published: Sets that became a grid.
        dropped: Sets that did not, by reason.
    """

    mean_s: float
    p50_s: float
    p99_s: float
    max_s: float
    published: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, seconds: list[float], dropped: Mapping[str, int]) -> Latency | None:
        """Statistics of total times; None without any."""
        if not seconds:
            return None
        times = np.asarray(seconds)
        middle, last = np.percentile(times, (50, 99))
        return cls(
            float(times.mean()), float(middle), float(last), float(times.max()), len(times),
            dict(dropped),
        )  # fmt: skip


def as_document(
    outcome: Outcome,
    bags: Sequence[Path],
    about: Mapping[str, Any],
    latency: Latency | None = None,
) -> dict[str, Any]:
    """Everything as plain values; undefined scores are null."""

    def place(where: Place) -> dict[str, Any]:
        return {"bag": bags[where.bag].name, "stamp_ns": where.stamp_ns}

    defined = [judged for judged in outcome.frames if judged.score is not None]
    worst = sorted(defined, key=lambda judged: judged.score)[:10]
    return {
        "about": dict(about),
        "frames": len(outcome.frames),
        "missing": [place(where) for where in outcome.missing],
        "scores": {name: dict(scores) for name, scores in outcome.scores.items()},
        "floors": {
            floor: {name: dict(scores) for name, scores in found.items()}
            for floor, found in outcome.floors.items()
        },
        "classes": {name: dict(columns) for name, columns in outcome.classes.items()},
        "confusion": {
            name: {"classes": list(table.names), "counts": table.counts.tolist()}
            for name, table in outcome.confusions.items()
        },
        "worst": [place(judged.place) | {"score": judged.score} for judged in worst],
        "seconds": {"answering": outcome.answering_s, "total": outcome.total_s},
        "latency": None if latency is None else asdict(latency),
    }


def is_scored(document: Mapping[str, Any]) -> bool:
    """Whether the truth knew anything at all."""
    values = [value for scores in document["scores"].values() for value in scores.values()]
    return any(value is not None for value in values)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


class Grid(NamedTuple):
    """A table of texts.

    Attributes:
        columns: Heads, that of the rows first.
        rows: Texts.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def score_grid(scores: Scores, floors: Mapping[str, Scores] | None = None) -> Grid:
    """Scores as a table: "iou 12.8 m" stands in the row "12.8 m" and the column "iou".

    Args:
        scores: By name.
        floors: Scores of the same names of answers that need no eyes; rows of their own.
    """
    cells = {(tail, head): value for head, tail, value in _parts(scores)}
    for floor, found in (floors or {}).items():
        cells |= {(_row(floor, tail), head): v for head, tail, v in _parts(found)}
    columns = tuple(dict.fromkeys(head for _, head in cells))
    rows = tuple(dict.fromkeys(tail for tail, _ in cells))
    table = [(row, *(_text(c, cells.get((row, c), ...)) for c in columns)) for row in rows]
    return Grid(("", *(c if is_plain(c) else f"{c} %" for c in columns)), table)


def class_grid(columns: Mapping[str, Scores]) -> Grid:
    """Scores per class, in percent."""
    names = tuple(dict.fromkeys(name for scores in columns.values() for name in scores))
    rows = [(name, *(percent(c.get(name)) for c in columns.values())) for name in names]
    return Grid(("class", *columns), rows)


def percent(value: float | None) -> str:
    """A score as text; what is not defined says so."""
    return UNDEFINED if value is None else f"{100 * value:.2f}"


def is_plain(name: str) -> bool:
    """Whether a score is a number of its own kind, not a share: its name ends with the unit."""
    return name.endswith("]")


def _row(floor: str, tail: str) -> str:
    return f"floor: {floor}" if tail == _WHOLE else f"floor: {floor}, {tail}"


def _parts(scores: Scores) -> list[tuple[str, str, float | None]]:
    """Column, row and value."""
    found = []
    for name, value in scores.items():
        ranged = _RANGED.fullmatch(name)
        found.append((*(ranged.groups() if ranged else (name, "all")), value))
    return found


def _text(column: str, value: Any) -> str:
    if value is ...:
        return ""
    if value is not None and is_plain(column):
        return f"{value:.3f}"
    return percent(value)
