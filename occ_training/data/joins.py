"""Joining messages by their stamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from occ_perception.bags.index import TopicIndex
from occ_perception.core.errors import BagError

Rows = npt.NDArray[np.int64]
NONE = -1  # row of an instant at which a camera or layer has nothing


def check_ascending(topic: TopicIndex, bag: Path) -> None:
    """Refuse images out of order: which pose or neighbour they have would be a guess.

    Raises:
        BagError: Two images have the same stamp, or stamps go backwards in the bag.
    """
    by_time = topic.stamps_ns[np.argsort(topic.times_ns, kind="stable")]
    wrong = np.flatnonzero(np.diff(by_time) <= 0)
    if wrong.size:
        raise BagError(
            f"bag {bag}: the stamps on {topic.name} do not go forward at "
            f"{int(by_time[wrong[0] + 1])}: mend the recording's clock"
        )


def nearest_with_reuse(stamps_ns: Rows, wanted_ns: Rows, within_ns: float) -> Rows:
    """Row of the nearest stamp for each that is wanted, NONE where it is too far off."""
    if len(stamps_ns) == 0:
        return np.full(len(wanted_ns), NONE)
    after = np.searchsorted(stamps_ns, wanted_ns).clip(1, max(1, len(stamps_ns) - 1))
    before, after = after - 1, after.clip(0, len(stamps_ns) - 1)
    is_before = wanted_ns - stamps_ns[before] <= np.abs(stamps_ns[after] - wanted_ns)
    rows = np.where(is_before, before, after)
    return np.where(np.abs(stamps_ns[rows] - wanted_ns) <= within_ns, rows, NONE)


def nearest_rows(anchors_ns: Rows, stamps_ns: Rows, within_ns: int) -> Rows:
    """The same, but no row is given to two anchors: the nearer one gets it."""
    rows = nearest_with_reuse(stamps_ns, anchors_ns, within_ns)
    distance = np.where(rows == NONE, np.iinfo(np.int64).max, np.abs(stamps_ns[rows] - anchors_ns))
    order = np.lexsort((distance, rows))
    again = np.zeros(len(rows), np.bool_)
    again[order[1:]] = rows[order[1:]] == rows[order[:-1]]
    return np.where(again, NONE, rows)
