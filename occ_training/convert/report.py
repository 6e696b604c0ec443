"""What a conversion found: counts by topic, what the data set lacks, what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from occ_perception.core.errors import OccError

MOST_TOLD = 20  # problems of one scene that are told one by one


class DatasetError(OccError):
    """A file of a data set is missing, damaged or contradicts its format."""

    reason: ClassVar[str] = "bad data set"


@dataclass
class Report:
    """What happened to one scene.

    Attributes:
        scene: Name of the scene, which is the name of its bag.
        counts: Messages by topic.
        absent: Kinds of data that the data set does not have here; no fault.
        problems: Damage and gaps, one sentence each that names the file and the cure.
        split: Published split that the scene belongs to; empty if it is in none.
        failed: No bag was written.
    """

    scene: str
    counts: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    split: str = ""
    failed: bool = False

    def lacks(self, what: str) -> None:
        """Note a kind of data that is not there."""
        self.absent.append(what)

    def problem(self, sentence: str) -> None:
        """Note damage, once; beyond the first ones of a scene they are only counted."""
        if sentence in self.problems:
            return
        if len(self.problems) < MOST_TOLD:
            self.problems.append(sentence)
        elif len(self.problems) == MOST_TOLD:
            self.problems.append("and 1 more problem")
        else:
            more = int(self.problems[-1].split()[1]) + 1
            self.problems[-1] = f"and {more} more problems"

    @contextmanager
    def tolerating(self) -> Iterator[None]:
        """Note what is raised inside, and go on."""
        try:
            yield
        except OccError as error:
            self.problem(str(error))

    def as_json(self) -> dict[str, object]:
        """The report as it stands in inventory.json."""
        return asdict(self)
