"""Runs a system over bags and lets any number of benchmarks score its answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import BagError
from occ_perception.core.types import FrameSet, Prediction
from occ_perception.eval.bag_frames import BagFrames
from occ_perception.systems.base import Context, OccupancySystem

Scores = Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Confusion:
    """What was taken for what.

    Attributes:
        names: Of the classes.
        counts: `[k, k]` rows are the truth, columns the answer.
    """

    names: Sequence[str]
    counts: npt.NDArray[np.int64]


class Truth(Protocol):
    """What one bag knows, for one benchmark.

    Attributes:
        stamps_ns: Stamps that have truth.
    """

    stamps_ns: Sequence[int]


class Scorer(Protocol):
    """A benchmark: counts over any number of bags, then scores.

    Attributes:
        name: For tables.
        wanted: What it needs of a system's `offers`.
    """

    name: str
    wanted: frozenset[str]

    def open(self, frames: BagFrames) -> Truth:
        """Begin with a bag.

        Raises:
            BagError: It has no truth for this benchmark.
        """
        ...

    def update(self, prediction: Prediction, stamp_ns: int) -> float | None:
        """Count the answer for a stamp of the open bag; tells how good it alone is."""
        ...

    def scores(self) -> Scores:
        """Scores by name, 0..1 but where the name has a unit; None = not defined."""
        ...

    def classes(self) -> Mapping[str, Scores]:
        """Scores per class, by the name of the column."""
        ...

    def confusion(self) -> Confusion | None:
        """Counts per true and answered class, where classes are scored."""
        ...


@dataclass(frozen=True)
class Place:
    """An instant of a bag.

    Attributes:
        bag: Number of the bag.
        stamp_ns: Stamp of the truth.
    """

    bag: int
    stamp_ns: int


@dataclass(frozen=True, eq=False)
class Judged:
    """An instant that was scored.

    Attributes:
        place: Where.
        score: How good the answer was to the first benchmark; None = not defined.
        answer: The answer; only kept of the worst.
    """

    place: Place
    score: float | None
    answer: Prediction | None = None


@dataclass
class Outcome:
    """What came out.

    Attributes:
        scores: By benchmark and name.
        classes: By benchmark, column and class.
        confusions: By benchmark, where it counts classes.
        frames: Every scored instant, in order.
        worst: Some of them with their answers, the worst first.
        missing: Instants with truth for which there was no answer.
        floors: Scores of answers that need no eyes, by floor and benchmark.
        answering_s: Time that the answers took, reading of the images included.
        total_s: Time in all.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    classes: dict[str, Mapping[str, Scores]] = field(default_factory=dict)
    confusions: dict[str, Confusion] = field(default_factory=dict)
    frames: list[Judged] = field(default_factory=list)
    worst: list[Judged] = field(default_factory=list)
    missing: list[Place] = field(default_factory=list)
    floors: dict[str, dict[str, Scores]] = field(default_factory=dict)
    answering_s: float = 0.0
    total_s: float = 0.0


Answers = Callable[[Place], Prediction | None]


def evaluate_system(
    system: OccupancySystem,
    bags: Sequence[Path],
    scorers: Sequence[Scorer],
    *,
    frames: int = 0,
    shuffle: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Score a system's answers to the images of bags.

    Args:
        system: With weights, and with prompts where it needs them.
        bags: Bags with truth, each a drive of its own.
        scorers: Benchmarks, all of which have truth at the same stamps.
        frames: At most so many instants; 0 = all.
        shuffle: Control: show the system the images of other places, if possible of other drives.
        progress: Told the number of instants done.

    Raises:
        OccError: A bag has no truth or not the cameras, or the system cannot answer.
    """
    sources = [BagFrames(bag, system.needs, system.grid.frame_id) for bag in bags]
    places = chosen(find_places(sources, scorers), frames, in_order=system.needs.history > 0)
    wanted = frozenset().union(*(s.wanted for s in scorers))
    answers = system_answers(system, sources, wanted)
    if shuffle:
        answers = of_other_places(answers, places)
    return score(answers, places, sources, scorers, progress)


def score(
    answers: Answers,
    places: Sequence[Place],
    sources: Sequence[BagFrames],
    scorers: Sequence[Scorer],
    progress: Callable[[int], None] | None = None,
    keep: int = 0,
) -> Outcome:
    """Score answers, wherever they come from.

    Args:
        answers: From a place to the answer.
        places: Where to score.
        sources: The bags.
        scorers: Benchmarks.
        progress: Told the number of instants done.
        keep: Number of the worst answers to keep.

    Raises:
        OccError: Truth or answers cannot be used.
    """
    out, start, opened = Outcome(), time.perf_counter(), -1
    for number, place in enumerate(places):
        if place.bag != opened:
            for scorer in scorers:
                scorer.open(sources[place.bag])
            opened = place.bag
        before = time.perf_counter()
        prediction = answers(place)
        out.answering_s += time.perf_counter() - before
        if prediction is None:
            out.missing.append(place)
        else:
            _judge(out, place, prediction, scorers, keep)
        if progress is not None:
            progress(number + 1)
    _collect(out, scorers)
    out.total_s = time.perf_counter() - start
    return out


def _judge(
    out: Outcome, place: Place, prediction: Prediction, scorers: Sequence[Scorer], keep: int
) -> None:
    """Count an answer in every benchmark."""
    found = [scorer.update(prediction, place.stamp_ns) for scorer in scorers]
    out.frames.append(Judged(place, found[0]))
    out.worst = _worst([*out.worst, Judged(place, found[0], prediction)], keep)


def _collect(out: Outcome, scorers: Sequence[Scorer]) -> None:
    """What the benchmarks have counted."""
    out.scores = {scorer.name: scorer.scores() for scorer in scorers}
    out.classes = {scorer.name: scorer.classes() for scorer in scorers}
    tables = {scorer.name: scorer.confusion() for scorer in scorers}
    out.confusions = {name: table for name, table in tables.items() if table is not None}


def system_answers(
    system: OccupancySystem, sources: Sequence[BagFrames], wanted: frozenset[str] = frozenset()
) -> Answers:
    """A system's answers to the frame sets of bags."""
    last = -1

    def answer(place: Place) -> Prediction | None:
        nonlocal last
        if place.bag != last:
            system.reset()
            last = place.bag
        found = sources[place.bag].at(place.stamp_ns)
        return None if found is None else infer(system, found, wanted)

    return answer


def infer(system: OccupancySystem, given: FrameSet, wanted: frozenset[str]) -> Prediction:
    """One answer, as the node makes it."""
    views = [system.preprocess(frame) for frame in given.frames]
    return system.infer(views, Context(given.stamp_ns, given.T_world_base, wanted))


def of_other_places(answers: Answers, places: Sequence[Place]) -> Answers:
    """Answers for half the list further on: what a system scores that does not look.

    The order stays, so that a system with a memory sees drives, only the wrong ones.
    """
    half = max(1, len(places) // 2)
    other = dict(zip(places, [*places[half:], *places[:half]], strict=True))
    return lambda place: answers(other[place])


def chosen(places: Sequence[Place], count: int, *, in_order: bool) -> list[Place]:
    """At most so many places: spread evenly, or for systems with a memory the first of each bag."""
    if not 0 < count < len(places):
        return list(places)
    if not in_order:
        step = (len(places) - 1) / max(1, count - 1)
        return [places[round(number * step)] for number in range(count)]
    bags = sorted({place.bag for place in places})
    share = max(1, count // len(bags))
    kept = [[p for p in places if p.bag == bag][:share] for bag in bags]
    return [place for part in kept for place in part][:count]


def find_places(sources: Sequence[BagFrames], scorers: Iterable[Scorer]) -> list[Place]:
    """All instants that have truth.

    Raises:
        BagError: There is none at all.
    """
    first, places = next(iter(scorers)), []
    for number, source in enumerate(sources):
        places += [Place(number, stamp_ns) for stamp_ns in first.open(source).stamps_ns]
    if not places:
        raise BagError("no bag has any truth to score: name other bags, or the topic of the truth")
    return places


def _worst(judged: Sequence[Judged], count: int) -> list[Judged]:
    defined = [j for j in judged if j.score is not None]
    return sorted(defined, key=lambda j: j.score)[:count]
