"""POP-3D's retrieval benchmark and those in its layout: words, and which LiDAR points they mean.

`retrieval_anns_all.csv` has no header and a line per query: token; split; file of the answer; file
of the visible points; text. Files are NumPy arrays. Beside it `places.csv` says where a token is in
bags: token; name of the bag; stamp of the scan in nanoseconds. `occ convert nuscenes --retrieval`
writes it for the real benchmark.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import BagError, PredictionError
from occ_perception.core.types import Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.eval.retrieval import average_precision, score_points
from occ_perception.eval.scoring import infer
from occ_perception.systems.base import OccupancySystem

QUERIES, PLACES = "retrieval_anns_all.csv", "places.csv"
HITS, VISIBLE = "annotations", "matching_points"  # folders of the files
KEY_FRAME_NS = 500_000_000  # nuScenes' distance of key frames, which the history consists of

Embed = Callable[[str], Float[Tensor, "1 c"]]


class LanguageSystem(OccupancySystem, Protocol):
    """A system whose voxels have vectors that can be compared with words."""

    def vectors(self) -> Float[Tensor, "x y z e"]:
        """Unit vectors of the last frame set's voxels."""
        ...

    def in_our_space(self, vectors: Float[Tensor, "n c"]) -> Float[Tensor, "n e"]:
        """Text embeddings as unit vectors of the same space."""
        ...


@dataclass(frozen=True)
class Query:
    """One text about one scan.

    Attributes:
        split: "train", "val" or "test".
        bag: Name of the bag.
        stamp_ns: Stamp of the scan.
        text: What is looked for.
        hits: File with 0 or 1 per point of the scan.
        visible: File with the numbers of the points that a camera sees.
    """

    split: str
    bag: str
    stamp_ns: int
    text: str
    hits: Path
    visible: Path


@dataclass(frozen=True)
class Found:
    """How well a query was answered.

    Attributes:
        query: The query.
        ap: Average precision over all points inside the grid.
        ap_visible: The same over those that a camera sees.
        share: Share of the points that are meant: what a random order scores.
        share_visible: The same of the visible ones.
    """

    query: Query
    ap: float
    ap_visible: float
    share: float
    share_visible: float


@dataclass(frozen=True)
class RetrievalScores:
    """Means over queries.

    Attributes:
        queries: How many.
        map_all: Mean average precision over all points in the grid.
        map_visible: The same over visible points.
        chance: What a random order of all points scores.
        chance_visible: The same of visible points.
    """

    queries: int
    map_all: float
    map_visible: float
    chance: float
    chance_visible: float


def read_queries(folder: Path) -> list[Query]:
    """The queries of a benchmark whose scans are known.

    Raises:
        BagError: A file is missing or has lines of another form, or no scan is known.
    """
    try:
        places = {token: (bag, int(stamp)) for token, bag, stamp in _lines(folder / PLACES)}
        found = [
            Query(split, *places[token], text, _file(folder, HITS, hits),
                  _file(folder, VISIBLE, visible))
            for token, split, hits, visible, text in _lines(folder / QUERIES)
            if token in places
        ]  # fmt: skip
    except (OSError, ValueError) as error:
        raise BagError(
            f"{folder} holds no retrieval benchmark ({error}): it needs {QUERIES} with five "
            f"columns, and {PLACES} with bag and stamp of the tokens in it, which `occ convert "
            "nuscenes --retrieval` writes"
        ) from error
    if not found:
        raise BagError(f"{folder / PLACES} knows no token of {QUERIES}: convert those scenes")
    return found


def evaluate_retrieval(
    system: LanguageSystem,
    bags: Mapping[str, Path],
    queries: Sequence[Query],
    embed: Embed,
    *,
    shuffle: bool = False,
    topics: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> list[Found]:
    """Ask a system for words and compare with the points that they mean.

    Args:
        system: With weights.
        bags: Bags by name.
        queries: What to ask.
        embed: Text embedding of a text, by the text encoder that the system was trained with.
        shuffle: Control: let the voxels of another scan answer.
        topics: Image topics of the cameras; empty = found in the bags.
        progress: Told the number of queries done.

    Raises:
        OccError: A bag or file is missing, or the system cannot answer.
    """
    ordered = sorted(queries, key=lambda q: (q.bag, q.stamp_ns))
    scans = [(key, list(group)) for key, group in groupby(ordered, lambda q: (q.bag, q.stamp_ns))]
    found: list[Found] = []
    for number, ((bag, stamp_ns), asked) in enumerate(scans):
        shown = scans[(number + len(scans) // 2) % len(scans)][0] if shuffle else (bag, stamp_ns)
        seen, meant = (
            BagFrames(_bag(bags, name), system.needs, system.grid.frame_id, topics)
            for name in (shown[0], bag)
        )
        vectors, points = _vectors_at(system, seen, shown[1]), _points_at(meant, stamp_ns)
        for query in asked:
            text = system.in_our_space(embed(query.text))[0].to(vectors)
            scores = score_points(vectors, points.to(vectors), text, system.grid)
            found += _judged(query, scores.scores.cpu(), scores.inside.cpu())
        if progress is not None:
            progress(len(found))
    return found


def mean_scores(found: Sequence[Found]) -> RetrievalScores:
    """Means over queries.

    Raises:
        PredictionError: There are none.
    """
    if not found:
        raise PredictionError("no query has an answer inside the grid that a camera sees")
    columns = ((f.ap, f.ap_visible, f.share, f.share_visible) for f in found)
    return RetrievalScores(len(found), *(float(np.mean(c)) for c in zip(*columns, strict=True)))


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.reader(file, delimiter=";")


def _file(folder: Path, kind: str, given: str) -> Path:
    """A file of the benchmark; whoever made the list may have had another folder in front."""
    path = folder / given
    return path if path.is_file() else folder / kind / Path(given).name


def key_frames_until(scans_ns: Sequence[int], stamp_ns: int, count: int) -> list[int]:
    """A scan and those that are about one key frame apart before it, as far as there are any.

    Args:
        scans_ns: Stamps of all scans: key frames, and where they were kept the sweeps between.
        stamp_ns: The last one.
        count: How many before it.
    """
    chosen = [stamp_ns]
    for number in range(1, count + 1):
        wanted = stamp_ns - number * KEY_FRAME_NS
        nearest = min(scans_ns, key=lambda scan: abs(scan - wanted))
        if abs(nearest - wanted) > KEY_FRAME_NS // 2 or nearest in chosen:
            break
        chosen.append(nearest)
    return chosen[::-1]


def _bag(bags: Mapping[str, Path], name: str) -> Path:
    if name not in bags:
        raise BagError(f"the benchmark asks about bag {name}, which was not given")
    return bags[name]


def _vectors_at(
    system: LanguageSystem, frames: BagFrames, stamp_ns: int
) -> Float[Tensor, "x y z e"]:
    """The voxels' vectors at a scan, with the key frames before it as history."""
    scans = frames.stamps_of(frames.cloud_topic())
    answer: Prediction | None = None
    system.reset()
    for stamp in key_frames_until(scans, stamp_ns, system.needs.history):
        if (given := frames.at(stamp)) is not None:
            answer = infer(system, given, frozenset())
    if answer is None or answer.stamp_ns != stamp_ns:
        raise BagError(f"bag {frames.bag.name} has no whole set of images at {stamp_ns}")
    return system.vectors()


def _points_at(frames: BagFrames, stamp_ns: int) -> Float[Tensor, "n 3"]:
    scan = frames.scan(frames.cloud_topic(), stamp_ns)
    if scan is None:
        raise BagError(f"bag {frames.bag.name} has no scan at {stamp_ns}")
    T = scan.T_grid_lidar
    return torch.from_numpy(scan.points @ T[:3, :3].T + T[:3, 3]).float()


def _judged(query: Query, scores: Tensor, inside: Tensor) -> Iterator[Found]:
    """The query's scores; nothing where its answer is out of reach."""
    hits: npt.NDArray[np.generic] = np.load(query.hits, allow_pickle=False)
    seen = np.load(query.visible, allow_pickle=False)
    if len(hits) != len(scores):
        raise BagError(f"{query.hits} is about {len(hits)} points, the scan has {len(scores)}")
    visible = torch.zeros(len(hits), dtype=torch.bool)
    visible[torch.from_numpy(seen.astype(np.int64))] = True
    meant, scores = torch.from_numpy(hits.astype(np.bool_)), scores.nan_to_num(nan=0.0)
    if not bool((meant & inside & visible).any()):
        return
    parts = [(scores[kept], meant[kept]) for kept in (inside, inside & visible)]
    precision = [average_precision(*part) for part in parts]
    shares = [float(m.float().mean()) for _, m in parts]
    yield Found(query, *precision, *shares)
