"""Writes a teacher's answers into label layers: one side bag per recording, made in parts.

Parts are bags of their own and appear only when they are whole, so that any number of workers can
share the work, be killed and started again. Whoever finds all parts of a recording there puts them
together. An inventory tells what is there and what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from occ_perception.bags.reader import BagReader
from occ_perception.bags.topics import TopicQos
from occ_perception.bags.writer import BagWriter
from occ_perception.core.errors import BagError, ConfigError
from occ_training.labels.answers import Answer, message_of
from occ_training.labels.layers import ABOUT, parts_folder, read_about, stamps_key

INVENTORY = "inventory.json"
_LATCHED = TopicQos(latched=True, depth=1)
_FRAMES_PER_PART = 32


class Labeler(Protocol):
    """A teacher over one recording.

    Attributes:
        recording: Name of the bag that is labelled.
        identity: Teacher and everything else that changes its answers.
        stamps_ns: Frames that get an answer; with several cameras one entry per image.
    """

    recording: str
    identity: str
    stamps_ns: Sequence[int]

    def answer(self, frame: int) -> Sequence[Answer]:
        """Images of values for a frame by its number in `stamps_ns`."""
        ...


@dataclass(frozen=True)
class Shard:
    """This worker's share: part p is done by worker p modulo `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "i/n", with i from 0.

        Raises:
            ConfigError: It is something else.
        """
        parts = text.split("/")
        if len(parts) == 2 and all(part.isdecimal() for part in parts):
            shard = cls(*map(int, parts))
            if shard.index < shard.count:
                return shard
        raise ConfigError(f"shard '{text}' is not i/n with 0 <= i < n, e.g. 0/4")


@dataclass(frozen=True)
class LayerState:
    """What there is of a recording's label layer.

    Attributes:
        frames: Frames that shall have an answer.
        parts: Parts that make the layer.
        missing: Parts that are not there yet.
        identity: Teacher and settings.
    """

    frames: int
    parts: int
    missing: int
    identity: str

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def label(
    labeler: Labeler, out: Path, shard: Shard, progress: Callable[[int], None] | None = None
) -> LayerState:
    """Do this worker's share of a recording.

    Args:
        labeler: The teacher over the recording.
        out: Folder of the label layers.
        shard: Which share.
        progress: Told the number of frames done.

    Raises:
        BagError: The layer is there already, made by another teacher; the disk is full.
    """
    target, about = out / labeler.recording, _about(labeler)
    if target.exists():
        if read_about(target) != about:
            raise BagError(
                f"label layer {target} was made by another teacher or of another recording: "
                "remove it or choose another folder"
            )
        return _state(labeler, 0)
    folder = parts_folder(out, labeler.recording, about)
    parts = list(_parts(len(labeler.stamps_ns)))
    for number, frames in enumerate(parts):
        if number % shard.count == shard.index:
            _write_part(labeler, _part(folder, number), frames)
        if progress is not None:
            progress(frames.stop)
    missing = sum(not _part(folder, number).exists() for number in range(len(parts)))
    if not missing:
        _join([_part(folder, n) for n in range(len(parts))], target, about)
        shutil.rmtree(folder, ignore_errors=True)
    return _state(labeler, missing)


def write_inventory(out: Path, states: Mapping[str, LayerState]) -> None:
    """Update `inventory.json`, which lies beside the layers."""
    path = out / INVENTORY
    known = json.loads(path.read_text("utf-8"))["layers"] if path.is_file() else {}
    layers = known | {name: asdict(state) for name, state in states.items()}
    temporary = path.with_name(f".{INVENTORY}.{os.getpid()}")
    temporary.write_text(json.dumps({"layers": layers}, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _about(labeler: Labeler) -> dict[str, object]:
    return {
        "recording": labeler.recording,
        "identity": labeler.identity,
        "frames": len(labeler.stamps_ns),
        "stamps": stamps_key(labeler.stamps_ns),
    }


def _state(labeler: Labeler, missing: int) -> LayerState:
    frames = len(labeler.stamps_ns)
    return LayerState(frames, len(list(_parts(frames))), missing, labeler.identity)


def _parts(frames: int) -> Iterator[range]:
    for start in range(0, frames, _FRAMES_PER_PART):
        yield range(start, min(start + _FRAMES_PER_PART, frames))


def _part(folder: Path, number: int) -> Path:
    return folder / f"part_{number:05d}"


def _write_part(labeler: Labeler, path: Path, frames: range) -> None:
    if path.exists():
        return
    with BagWriter(path) as bag:
        for frame in frames:
            for answer in labeler.answer(frame):
                msgtype, message = message_of(answer)
                bag.write_message(answer.topic, msgtype, answer.stamp_ns, message)


def _join(parts: Sequence[Path], target: Path, about: Mapping[str, object]) -> None:
    """One bag of all parts; if another worker was faster, its bag stays."""
    try:
        with BagWriter(target) as out:
            out.add_topic(ABOUT, "std_msgs/msg/String", qos=_LATCHED)
            for number, part in enumerate(parts):
                with BagReader(part) as bag:
                    if not number:
                        text = {"data": json.dumps(about)}
                        out.write_message(ABOUT, "std_msgs/msg/String", bag.start_ns, text)
                    for message in bag.messages():
                        out.add_topic(message.topic, message.msgtype)
                        out.write(message.topic, message.time_ns, message.data)
    except BagError:
        if not target.exists():
            raise
