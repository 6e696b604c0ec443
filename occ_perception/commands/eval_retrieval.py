"""`occ eval --queries`: how well words find the LiDAR points that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import ConfigError
from occ_perception.eval.retrieval_set import (
    Found,
    evaluate_retrieval,
    mean_scores,
    read_queries,
)
from occ_perception.eval.scoring import Scores
from occ_perception.text.wording import wordings_of

_GROUPS = ("all", "train", "val", "test")


def retrieval_scores(
    system: Any, bags: Sequence[Path], queries: Path, embeddings: str, device: str,
    *, shuffle: bool = False, topics: Sequence[str] = (),
) -> dict[str, Scores]:  # fmt: skip
    """Mean average precision by group of queries.

    Args:
        system: A system of words, with weights.
        bags: The bags that the queries are about.
        queries: Folder of the benchmark.
        embeddings: File of stored text vectors; empty = the shipped ones.
        device: Where a text encoder would run.
        shuffle: Control: let the voxels of other scans answer.
        topics: Image topics of the cameras; empty = found in the bags.

    Raises:
        OccError: The system knows no words, or a file is missing.
    """
    if system is None or not system.needs.prompts:
        raise ConfigError("--queries need a network whose voxels can be asked for words: langocc")
    wordings = wordings_of(system.config, system.labels.name, embeddings, device)

    def embed(text: str) -> Float[Tensor, "1 c"]:
        return wordings.vectors([text]).find([text])

    names = {bag.name: bag for bag in bags}
    asked = [query for query in read_queries(queries) if query.bag in names]
    found = evaluate_retrieval(system, names, asked, embed, shuffle=shuffle, topics=topics)
    return {f"retrieval, {group}": _of(part) for group, part in _groups(found)}


def _groups(found: Sequence[Found]) -> list[tuple[str, list[Found]]]:
    """All queries, and those of each split that occurs."""
    parts = [(g, [f for f in found if g in ("all", f.query.split)]) for g in _GROUPS]
    return [(group, part) for group, part in parts if part]


def _of(found: Sequence[Found]) -> Scores:
    means = mean_scores(found)
    return {
        "mAP": means.map_all,
        "mAP visible": means.map_visible,
        "chance": means.chance,
        "chance visible": means.chance_visible,
        "queries [1]": float(means.queries),
    }
