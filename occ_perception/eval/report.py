"""What an evaluation has found, as a JSON document and as rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from occ_perception.eval.bag_eval import Evaluation

UNDEFINED = "undefined"


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
    evaluation: Evaluation, about: Mapping[str, Any], latency: Latency | None = None
) -> dict[str, Any]:
    """Everything as plain values; undefined scores are null."""
    classes = evaluation.protocol.classes
    ranges = {}
    for range_m, scores in evaluation.metric.scores().items():
        entry = asdict(scores)
        entry["class_iou"] = dict(zip(classes, scores.class_iou, strict=False))
        ranges[f"{range_m:g}"] = entry
    widest = max(evaluation.metric.metrics)
    return {
        "about": dict(about),
        "protocol": evaluation.protocol.name,
        "frames": len(evaluation.frames),
        "missing": evaluation.missing,
        "ranges_m": ranges,
        "confusion": evaluation.metric.metrics[widest].confusion.tolist(),
        "worst": [
            {"stamp_ns": f.stamp_ns, "iou": f.scores.iou, "miou": f.scores.miou}
            for f in evaluation.worst(10)
        ],
        "seconds": {"answering": evaluation.answering_s, "total": evaluation.total_s},
        "latency": None if latency is None else asdict(latency),
    }


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write the JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def summary_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Per range: range, IoU, precision, recall, mIoU, in percent."""
    names = ("iou", "precision", "recall", "miou")
    return [
        (f"{range_m} m", *(percent(entry[name]) for name in names))
        for range_m, entry in document["ranges_m"].items()
    ]


def class_rows(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Per class: name, IoU at every range, in percent."""
    tables = [entry["class_iou"] for entry in document["ranges_m"].values()]
    names = next((list(table) for table in tables if table), [])
    return [(name, *(percent(table.get(name)) for table in tables)) for name in names[1:]]


def percent(value: float | None) -> str:
    """A score as text; what is not defined says so."""
    return UNDEFINED if value is None else f"{100 * value:.2f}"
