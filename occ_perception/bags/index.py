"""Where each message of a bag lies in its files, so that any of them is one read away.

The index of a bag is made once, by walking over the records of its MCAP files, and kept beside it
(or in the user's cache, if the bag cannot be written to). It belongs to the files by name, size,
time and last bytes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import lz4.frame
import numpy as np
import numpy.typing as npt
import zstandard

from occ_perception.bags.messages import MessageTypes
from occ_perception.bags.side_files import Arrays, from_json_array, json_array, side_file
from occ_perception.core.errors import BagError

VERSION = 1
FILE_NAME = ".occ_index.npz"
MAGIC = b"\x89MCAP0\r\n"
SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x03, 0x04, 0x05, 0x06
RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")
STAMP_BYTES = 64  # of a message, enough for its stamp
TAIL_BYTES = 1 << 16

COLUMNS = ("stamps_ns", "times_ns", "places")

Longs = npt.NDArray[np.int64]


class Place(NamedTuple):
    """Where a message lies.

    Attributes:
        file: Number of the file.
        chunk: Position of the compressed chunk that holds it; -1 if it lies in the file as it is.
        position: First byte, in the file or in the uncompressed chunk.
        length: Bytes.
    """

    file: int
    chunk: int
    position: int
    length: int


@dataclass(frozen=True, eq=False)
class TopicIndex:
    """The messages of one topic, ordered by their stamps.

    Attributes:
        name: Topic name.
        msgtype: "package/msg/Name".
        stamps_ns: Header stamps, nanoseconds; the time in the bag where there is none.
        times_ns: Times in the bag, nanoseconds.
        places: `[n, 4]`, the fields of `Place`.
    """

    name: str
    msgtype: str
    stamps_ns: Longs
    times_ns: Longs
    places: Longs

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def place(self, row: int) -> Place:
        """Where the message of a row lies."""
        return Place(*self.places[row].tolist())

    def nearest(self, stamp_ns: int, within_ns: int) -> int | None:
        """Row of the message with the nearest stamp, None if it is too far off."""
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        rows = [row for row in (after - 1, after) if 0 <= row < len(self)]
        if not rows:
            return None
        row = min(rows, key=lambda r: abs(int(self.stamps_ns[r]) - stamp_ns))
        return row if abs(int(self.stamps_ns[row]) - stamp_ns) <= within_ns else None


@dataclass(frozen=True, eq=False)
class BagIndex:
    """All messages of a bag.

    Attributes:
        path: Folder of the bag, or its file.
        files: The bag's files, in the order of `Place.file`.
        identity: Hash by which the files are known.
        topics: By name.
    """

    path: Path
    files: tuple[Path, ...]
    identity: str
    topics: dict[str, TopicIndex]


class _Row(NamedTuple):
    channel: int
    time_ns: int
    stamp_ns: int
    place: Place


def open_index(path: str | Path) -> BagIndex:
    """The index of a bag, made if there is none that fits.

    Args:
        path: Folder of an MCAP bag, or an .mcap file.

    Raises:
        BagError: No MCAP bag, or it is damaged.
    """
    files = mcap_files(Path(path))
    identity = identity_of(files)
    arrays = side_file(
        Path(path), identity, FILE_NAME, lambda: _to_arrays(list(build_topics(files).values()))
    )
    return BagIndex(Path(path), files, identity, _from_arrays(arrays))


def mcap_files(path: Path) -> tuple[Path, ...]:
    """The MCAP files of a bag in order.

    Raises:
        BagError: There is none.
    """
    if path.is_file() and path.suffix == ".mcap":
        return (path,)
    files = tuple(sorted(path.glob("*.mcap"))) if path.is_dir() else ()
    if not files:
        raise BagError(
            f"{path} is no MCAP bag, which random access needs: check the path, or convert the bag "
            "with `ros2 bag convert`"
        )
    return files


def identity_of(files: tuple[Path, ...]) -> str:
    """Hash by which a stored index is known to belong to these files."""
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in files:
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                file.seek(max(0, status.st_size - TAIL_BYTES))
                digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns} ".encode())
                digest.update(file.read())
        except OSError as error:
            raise BagError(f"bag {path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def build_topics(files: tuple[Path, ...]) -> dict[str, TopicIndex]:
    """Walk over all records.

    Raises:
        BagError: A file is cut off or damaged.
    """
    by_topic: dict[tuple[str, str], list[_Row]] = {}
    types = MessageTypes()
    for number, path in enumerate(files):
        for row, topic in _FileWalk(path, number, types).rows():
            by_topic.setdefault(topic, []).append(row)
    topics: dict[str, TopicIndex] = {}
    for (name, msgtype), rows in by_topic.items():
        if name in topics:
            raise BagError(f"bag {files[0].parent}: topic {name} has several types")
        topics[name] = _topic_index(name, msgtype, rows)
    return topics


def _topic_index(name: str, msgtype: str, rows: list[_Row]) -> TopicIndex:
    stamps = np.array([r.stamp_ns for r in rows], np.int64)
    times = np.array([r.time_ns for r in rows], np.int64)
    order = np.lexsort((times, stamps))
    places = np.array([r.place for r in rows], np.int64).reshape(-1, 4)
    return TopicIndex(name, msgtype, stamps[order], times[order], places[order])


class _FileWalk:
    """One pass over the records of a file."""

    def __init__(self, path: Path, number: int, types: MessageTypes) -> None:
        self._path = path
        self._number = number
        self._types = types
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}

    def rows(self) -> Iterator[tuple[_Row, tuple[str, str]]]:
        """Messages with their topic and type.

        Raises:
            BagError: The file is cut off or damaged.
        """
        try:
            with (
                self._path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory,
            ):
                end = len(memory) - len(MAGIC)
                if memory[: len(MAGIC)] != MAGIC or memory[end:] != MAGIC:
                    raise BagError(self._damage("its first or last bytes are not those of MCAP"))
                for row in self._walk(memory, len(MAGIC), end, -1):
                    yield row, self._channels[row.channel]
        except (OSError, ValueError, KeyError, struct.error, RuntimeError) as error:
            raise BagError(self._damage(str(error))) from error

    def _damage(self, why: str) -> str:
        return (
            f"bag {self._path} is truncated or damaged ({why}): record or copy it again, or save "
            "what is left with `mcap recover`"
        )

    def _walk(self, data: mmap.mmap | bytes, start: int, end: int, chunk: int) -> Iterator[_Row]:
        """Records of a file, or of a chunk in it at position `chunk`."""
        position = start
        while position < end:
            kind, length = RECORD.unpack_from(data, position)
            body = position + RECORD.size
            position = body + length
            if position > end:
                raise ValueError(f"a record at byte {body} is longer than the file")
            if kind == MESSAGE:
                yield self._message(data, body, length, chunk)
            elif kind == CHUNK:
                yield from self._chunk(data, body, body + length)
            elif kind == SCHEMA:
                number, name = struct.unpack_from("<H", data, body)[0], _text(data, body + 2)
                self._schemas[number] = name
            elif kind == CHANNEL:
                number, schema = struct.unpack_from("<HH", data, body)
                self._channels[number] = (_text(data, body + 4), self._schemas[schema])

    def _message(self, data: mmap.mmap | bytes, body: int, length: int, chunk: int) -> _Row:
        channel, _, time_ns, _ = MESSAGE_HEAD.unpack_from(data, body)
        start, size = body + MESSAGE_HEAD.size, length - MESSAGE_HEAD.size
        head = bytes(data[start : start + min(size, STAMP_BYTES)])
        stamp_ns = self._stamp(self._channels[channel][1], head)
        return _Row(channel, time_ns, stamp_ns or time_ns, Place(self._number, chunk, start, size))

    def _stamp(self, msgtype: str, head: bytes) -> int | None:
        try:
            return self._types.stamp_ns(msgtype, head)
        except BagError:  # a type that is not installed here has no stamp that could be read
            return None

    def _chunk(self, data: mmap.mmap | bytes, body: int, end: int) -> Iterator[_Row]:
        compression, start, size = _chunk_head(data, body)
        if start + size > end:
            raise ValueError(f"the chunk at byte {body} is longer than its record")
        if not compression:
            yield from self._walk(data, start, start + size, -1)
        else:
            content = _uncompressed(compression, bytes(data[start : start + size]))
            yield from self._walk(content, 0, len(content), body)


def _text(data: mmap.mmap | bytes, position: int) -> str:
    (length,) = struct.unpack_from("<I", data, position)
    return bytes(data[position + 4 : position + 4 + length]).decode()


def _chunk_head(data: mmap.mmap | bytes, body: int) -> tuple[str, int, int]:
    """Compression, first byte of the content, and its size, of a chunk record's body."""
    compression = _text(data, body + 28)
    start = body + 28 + 4 + len(compression)
    (size,) = struct.unpack_from("<Q", data, start)
    return compression, start + 8, size


def _uncompressed(compression: str, content: bytes) -> bytes:
    if compression == "lz4":
        return lz4.frame.decompress(content)
    if compression == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    raise ValueError(f"chunks are compressed with '{compression}', which is unknown")


class MessageStore:
    """Reads messages by their place; safe in several processes, whichever way they were started.

    Attributes:
        files: The bag's files.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files
        self._descriptors: dict[tuple[int, int], int] = {}
        self._chunk: tuple[tuple[int, int], bytes] | None = None

    def __getstate__(self) -> dict[str, object]:
        """What another process gets: it opens the files itself."""
        return {"files": self.files, "_descriptors": {}, "_chunk": None}

    def close(self) -> None:
        """Close the files."""
        for (process, _), descriptor in self._descriptors.items():
            if process == os.getpid():
                os.close(descriptor)
        self._descriptors.clear()
        self._chunk = None

    def read(self, place: Place) -> bytes:
        """CDR bytes of a message.

        Raises:
            BagError: The file has changed or cannot be read.
        """
        if place.chunk < 0:
            return self._read(place.file, place.position, place.length)
        key = (place.file, place.chunk)
        if self._chunk is None or self._chunk[0] != key:
            self._chunk = (key, self._read_chunk(*key))
        return self._chunk[1][place.position : place.position + place.length]

    def _read_chunk(self, file: int, body: int) -> bytes:
        head = self._read(file, body, 64)
        compression, start, size = _chunk_head(head, 0)
        return _uncompressed(compression, self._read(file, body + start, size))

    def _read(self, file: int, position: int, length: int) -> bytes:
        # pread has no position that processes or threads could share.
        try:
            data = os.pread(self._descriptor(file), length, position)
        except OSError as error:
            raise BagError(f"bag {self.files[file]} cannot be read: {error.strerror}") from error
        if len(data) != length:
            raise BagError(f"bag {self.files[file]} has become shorter: open it again")
        return data

    def _descriptor(self, file: int) -> int:
        key = (os.getpid(), file)
        if key not in self._descriptors:
            self._descriptors[key] = os.open(self.files[file], os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[key]


def _to_arrays(topics: Sequence[TopicIndex]) -> Arrays:
    columns = {
        name: np.concatenate([getattr(t, name) for t in topics] or [np.zeros(0, np.int64)])
        for name in COLUMNS
    }
    return columns | {"topics": json_array([[t.name, t.msgtype, len(t)] for t in topics])}


def _from_arrays(arrays: Arrays) -> dict[str, TopicIndex]:
    topics = from_json_array(arrays["topics"])
    ends = np.cumsum([count for _, _, count in topics])[:-1].astype(int)
    parts = zip(*(np.split(arrays[name], ends) for name in COLUMNS), strict=True)
    return {
        name: TopicIndex(name, msgtype, *part)
        for (name, msgtype, _), part in zip(topics, parts, strict=True)
    }
