"""Write ROS 2 bags (MCAP): under a temporary name until complete, playable by any ROS 2 tool."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from occ_perception.bags.messages import MessageTypes, TypeDescription
from occ_perception.bags.topics import TopicQos, default_qos, to_rosbags
from occ_perception.core.errors import BagError


class BagWriter:
    """A new bag, as a context manager; it appears under its name when the block ends well.

    With an exception in the block nothing is left behind, and a bag that was to be replaced
    stays as it was.

    Attributes:
        path: Folder of the finished bag.
        types: Message types that can be written; types of installed packages are found.
        counts: Messages written so far, by topic.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Prepare a bag.

        Args:
            path: Folder to make; its parents are made, too.
            overwrite: Replace a bag that is there already.
        """
        self.path = Path(path)
        self.types = MessageTypes()
        self.counts: dict[str, int] = {}
        self._overwrite = overwrite
        self._connections: dict[str, Connection] = {}
        self._writer: Writer | None = None

    def __enter__(self) -> Self:
        """Open the bag.

        Raises:
            BagError: Something is there already, or the place cannot be written to.
        """
        check_target(self.path, overwrite=self._overwrite)
        with disk_errors_reported(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            hidden = tempfile.mkdtemp(prefix=f".{self.path.name}.partial-", dir=self.path.parent)
            # The folder's name becomes the file's name, hence a folder in the hidden folder.
            writer = Writer(
                Path(hidden) / self.path.name, version=9, storage_plugin=StoragePlugin.MCAP
            )
            writer.open()
        self._writer = writer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def add_topic(
        self,
        topic: str,
        msgtype: str,
        *,
        qos: TopicQos | None = None,
        description: TypeDescription | None = None,
    ) -> None:
        """Announce a topic; it is in the bag even if no message follows.

        Args:
            topic: Topic name.
            msgtype: "package/msg/Name".
            qos: What players shall offer; by default reliable, and latched for /tf_static.
            description: Definition of the type, where a bag is copied; else it is looked up.

        Raises:
            BagError: The topic is there with another type, or the type is unknown.
        """
        known = self._connections.get(topic)
        if known is not None:
            if known.msgtype != msgtype:
                raise BagError(f"topic {topic} is {known.msgtype} already, it cannot be {msgtype}")
            return
        definition, type_hash = description or self.types.description(msgtype)
        self._connections[topic] = self._open().add_connection(
            topic,
            msgtype,
            msgdef=definition,
            rihs01=type_hash,
            offered_qos_profiles=[to_rosbags(qos or default_qos(topic))],
        )
        self.counts[topic] = 0

    def write(self, topic: str, time_ns: int, data: bytes | memoryview) -> None:
        """Add a serialized message.

        Args:
            topic: Topic that was announced with `add_topic`.
            time_ns: Time in the bag in nanoseconds; players and readers go by it.
            data: CDR bytes.

        Raises:
            BagError: The topic is not announced, or the disk is full.
        """
        if topic not in self._connections:
            raise BagError(f"topic {topic} was not added to bag {self.path}: call add_topic first")
        with disk_errors_reported(self.path):
            self._open().write(self._connections[topic], time_ns, data)
        self.counts[topic] += 1

    def write_message(
        self, topic: str, msgtype: str, time_ns: int, message: object | Mapping[str, object]
    ) -> None:
        """Add a message given as an object or as nested mappings of its fields.

        Args:
            topic: Topic; it is announced if it is new.
            msgtype: "package/msg/Name".
            time_ns: Time in the bag in nanoseconds.
            message: Fields that are not named are zero or empty (see MessageTypes.build).

        Raises:
            BagError: A field does not exist or does not fit, or the disk is full.
        """
        self.add_topic(topic, msgtype)
        self.write(topic, time_ns, self.types.encode(msgtype, message))

    def close(self) -> None:
        """Finish the bag and give it its name.

        Raises:
            BagError: The disk is full; nothing is left under the name.
        """
        writer = self._open()
        try:
            with disk_errors_reported(self.path):
                writer.close()
                flush(writer.path)
                self._move(writer.path)
        except BagError:
            self.abort()
            raise
        self._writer = None

    def abort(self) -> None:
        """Give up: remove what was written."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError, ValueError):
                writer.abort()
            shutil.rmtree(writer.path.parent, ignore_errors=True)

    def _move(self, written: Path) -> None:
        """Put the written folder in place of whatever is allowed to be there."""
        hidden = written.parent
        if self.path.exists():
            check_target(self.path, overwrite=self._overwrite)
            self.path.rename(hidden / "replaced")
        written.rename(self.path)
        shutil.rmtree(hidden)

    def _open(self) -> Writer:
        if self._writer is None:
            raise BagError(f"bag {self.path} is not open: use it in a `with` block")
        return self._writer


def check_target(path: Path, *, overwrite: bool) -> None:
    """Refuse to replace what must not be replaced.

    Raises:
        BagError: A bag is there and was not given up, it is no bag at all, or its folder cannot be
            written to.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise BagError(f"{folder} is no folder that can be written to: choose another output")
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / "metadata.yaml").is_file():
        raise BagError(f"{path} exists and is no bag: choose another name for the output")
    if not overwrite:
        raise BagError(f"bag {path} exists already: choose another name, or allow to overwrite it")


def flush(folder: Path) -> None:
    """Have the files of a folder on the disk before it gets its name."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def disk_errors_reported(path: Path) -> Iterator[None]:
    """Turn a failing disk into one sentence.

    Raises:
        BagError: In place of OSError and of rosbags' own.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise BagError(
                f"the disk is full, bag {path} was not written: free some space at {path.parent}"
            ) from error
        raise BagError(f"bag {path} cannot be written: {error.strerror}") from error
    except WriterError as error:
        raise BagError(f"bag {path} cannot be written: {error}") from error
