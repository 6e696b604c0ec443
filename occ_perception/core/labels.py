"""Label maps: what the ids of a voxel grid mean. One JSON data file per data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from occ_perception.core.errors import ConfigError

# Names of label maps begin so whose ids are clusters that nobody has named.
CLUSTERS = "clusters_"


@dataclass(frozen=True)
class LabelMap:
    """Meaning of the uint8 ids in a voxel grid.

    Attributes:
        name: Name of the map, e.g. "semantickitti"; carried by every published grid.
        ids: Ids in use, ascending, without `unknown_id`.
        names: Class names, one per id.
        colors_rgb: Colours 0..255, one triple per id.
        free_id: Id of observed empty space.
        unknown_id: Id of "no statement"; never the same as `free_id`.
        blocking_ids: Ids that a robot cannot drive through.
    """

    name: str
    ids: tuple[int, ...]
    names: tuple[str, ...]
    colors_rgb: tuple[tuple[int, int, int], ...]
    free_id: int
    unknown_id: int
    blocking_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse contradicting maps.

        Raises:
            ConfigError: Lengths differ, ids repeat or free and unknown coincide.
        """
        if not len(self.ids) == len(self.names) == len(self.colors_rgb) == len(set(self.ids)):
            raise ConfigError(f"label map '{self.name}': ids, names and colours do not match")
        if self.free_id == self.unknown_id or self.unknown_id in self.ids:
            raise ConfigError(f"label map '{self.name}': unknown must differ from every class id")
        strangers = {self.free_id, *self.blocking_ids} - set(self.ids)
        if strangers:
            raise ConfigError(f"label map '{self.name}': ids {sorted(strangers)} are not defined")

    def palette(self) -> npt.NDArray[np.uint8]:
        """Look-up table `[256, 3]` uint8 RGB; ids that are not defined are mid grey."""
        table = np.full((256, 3), 128, dtype=np.uint8)
        table[list(self.ids)] = np.array(self.colors_rgb, dtype=np.uint8)
        return table

    def blocking(self) -> npt.NDArray[np.bool_]:
        """Look-up table `[256]`: does the id block a robot."""
        table = np.zeros(256, dtype=np.bool_)
        table[list(self.blocking_ids)] = True
        return table

    def id_of(self, name: str) -> int:
        """Id of a class name.

        Raises:
            ConfigError: There is no such class in this map.
        """
        if name not in self.names:
            raise ConfigError(
                f"label map '{self.name}' has no class '{name}'; it has: {', '.join(self.names)}"
            )
        return self.ids[self.names.index(name)]


def load_label_map(name: str) -> LabelMap:
    """Read one of the shipped label maps by name.

    Raises:
        ConfigError: No map of that name is shipped.
    """
    folder = resources.files(__package__) / "label_maps"
    path = folder / f"{name}.json"
    if not path.is_file():
        known = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".json"))
        raise ConfigError(f"unknown label map '{name}'; shipped maps: {', '.join(known)}")
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = data["classes"]
    return LabelMap(
        name=data["name"],
        ids=tuple(row["id"] for row in rows),
        names=tuple(row["name"] for row in rows),
        colors_rgb=tuple((r, g, b) for r, g, b in (row["rgb"] for row in rows)),
        free_id=data["free_id"],
        unknown_id=data["unknown_id"],
        blocking_ids=tuple(row["id"] for row in rows if row.get("blocking", False)),
    )
