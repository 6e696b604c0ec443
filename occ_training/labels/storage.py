"""How much room a label layer will take, before it is made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from occ_perception.bags.messages import MessageTypes
from occ_training.labels.answers import message_of
from occ_training.labels.worker import Labeler


@dataclass(frozen=True)
class Storage:
    """Room on the disk.

    Attributes:
        image_bytes: What the answer for one image takes.
        images: Images of the recording.
        free_bytes: What is free where the layer goes.
    """

    image_bytes: int
    images: int
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """What the layer of this recording takes."""
        return self.image_bytes * self.images

    @property
    def fits(self) -> bool:
        """Whether there is room, twice: parts are put together before they are removed."""
        return 2 * self.total_bytes < self.free_bytes


def storage_of(labeler: Labeler, out: Path) -> Storage:
    """Ask for one answer and weigh it.

    Args:
        labeler: The teacher over a recording.
        out: Where the layers go; need not exist yet.
    """
    types, count = MessageTypes(), len(labeler.stamps_ns)
    weights = []
    for frame in {0, count // 2} if count else ():
        messages = (message_of(answer) for answer in labeler.answer(frame))
        weights.append(sum(len(types.encode(*message)) for message in messages))
    place = next(p for p in (out, *out.absolute().parents) if p.exists())
    mean = sum(weights) // max(1, len(weights))
    return Storage(mean, count, shutil.disk_usage(place).free)
