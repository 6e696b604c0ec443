"""Where the scans of POP-3D's retrieval benchmark are in converted nuScenes bags."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from occ_perception.eval.retrieval_set import PLACES, QUERIES
from occ_training.convert.nuscenes import LIDAR, NuScenesScene
from occ_training.convert.report import DatasetError


def write_places(scenes: Iterable[NuScenesScene], folder: Path) -> tuple[int, int]:
    """Write beside the benchmark which scan of which bag each of its tokens is.

    What an earlier call wrote about other scenes stays: the benchmark asks about all three splits,
    which nuScenes keeps in two sets of tables.

    Args:
        scenes: Scenes of the tables, whether they are converted or not.
        folder: The benchmark, as it is unpacked.

    Returns:
        Number of its scans that are known now, and of all of them.

    Raises:
        DatasetError: The folder holds no benchmark.
    """
    asked = dict.fromkeys(row[0] for row in _rows(folder / QUERIES))
    known = {row[0]: tuple(row) for row in _rows(folder / PLACES, missing_ok=True)}
    for scene in scenes:
        for record in scene.records:
            if record.channel == LIDAR and record.key in asked:
                known[record.key] = (record.key, scene.name, str(record.stamp_ns))
    with (folder / PLACES).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows(known[t] for t in asked if t in known)
    return sum(token in known for token in asked), len(asked)


def _rows(path: Path, *, missing_ok: bool = False) -> list[list[str]]:
    if missing_ok and not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.reader(file, delimiter=";") if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path} cannot be read ({error}): give the folder of POP-3D's retrieval benchmark"
        ) from error
