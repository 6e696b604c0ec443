"""Read bags: ROS 2 (MCAP, SQLite) and ROS 1, always as ROS 2 messages in CDR bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import rosbags.rosbag1
import rosbags.rosbag2
from apsw import Error as SqliteError
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import zstd
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError, get_types_from_msg

from occ_perception.bags.messages import MessageTypes, TypeDescription
from occ_perception.bags.topics import TopicInfo, TopicQos, combined, from_rosbags, select
from occ_perception.core.errors import BagError

SUFFIXES = (".mcap", ".db3", ".bag")
# ROS 1 names whose ROS 2 type has another one but the same fields.
RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}
# What rosbags lets through when a file is cut off or its bytes are wrong.
DAMAGE = (
    rosbags.rosbag1.ReaderError,
    rosbags.rosbag2.ReaderError,
    AnyReaderError,
    SerdeError,
    SqliteError,
    TypesysError,
    OSError,
    EOFError,
    struct.error,
    zstd.ZstdError,
    AssertionError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class BagMessage(NamedTuple):
    """One message, not decoded.

    Attributes:
        topic: Topic name.
        msgtype: "package/msg/Name".
        time_ns: Time in the bag in nanoseconds, by which the bag is ordered.
        data: CDR bytes.
    """

    topic: str
    msgtype: str
    time_ns: int
    data: bytes


class BagReader:
    """A bag that is open for reading, as a context manager.

    Attributes:
        path: Folder of a ROS 2 bag, or one of its files, or a ROS 1 .bag file.
        types: Message types; decodes ROS 1 and what the bag does not define itself.
        topics: Topics by name, in the order of the bag.
        start_ns: Time of the first message; 0 in an empty bag.
        end_ns: Time of the last message; 0 in an empty bag.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.types = MessageTypes()
        self.topics: dict[str, TopicInfo] = {}
        self.start_ns = self.end_ns = 0
        self._reader: AnyReader | None = None
        self._connections: list[Connection] = []
        self._own_types = self.types
        self._by_own_types: set[str] = set()

    def __enter__(self) -> Self:
        """Open the bag.

        Raises:
            BagError: Nothing there, not a bag, or damaged.
        """
        check_path(self.path)
        with damage_reported(self.path):
            reader = AnyReader([self.path], default_typestore=self.types.store)
            reader.open()
            self._reader = reader
        try:
            self._look_inside(reader)
        except BagError:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a second call does nothing."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @property
    def message_count(self) -> int:
        """Number of messages in the bag."""
        return sum(topic.count for topic in self.topics.values())

    def _look_inside(self, reader: AnyReader) -> None:
        """Fill topics and times; teach the types of a ROS 1 bag."""
        with damage_reported(self.path):
            self._connections = stored_connections(reader)
            for name in dict.fromkeys(c.topic for c in self._connections):
                self.topics[name] = self._topic(name)
            self._learn_types(reader)
            if self.message_count:
                self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1

    def _learn_types(self, reader: AnyReader) -> None:
        """Decide whose definition counts: the bag's own, unless it is a standard type unproven.

        A standard type whose definition in the bag has no hash is read as Jazzy defines it:
        rosbag2 has written bags with cut-off definitions.
        """
        if not reader.is2:
            for c in reader.connections:
                self.types.learn(get_types_from_msg(c.msgdef.data, c.msgtype))
            return
        self._own_types = MessageTypes(reader.typestore)
        proven = {c.msgtype for c in reader.connections if c.digest}
        defined, standard = set(reader.typestore.fielddefs), set(self.types.store.fielddefs)
        self._by_own_types = defined - (standard - proven)

    def _topic(self, name: str) -> TopicInfo:
        parts = [c for c in self._connections if c.topic == name]
        msgtypes = {self._ros2_name(c.msgtype) for c in parts}
        if len(msgtypes) > 1:
            raise BagError(f"bag {self.path}: topic {name} has several types, {sorted(msgtypes)}")
        offers = [offer for c in parts for offer in offered_qos(c)]
        return TopicInfo(name, msgtypes.pop(), sum(c.msgcount for c in parts), combined(offers))

    def _ros2_name(self, msgtype: str) -> str:
        return msgtype if self._open().is2 else RENAMED.get(msgtype, msgtype)

    def _open(self) -> AnyReader:
        if self._reader is None:
            raise BagError(f"bag {self.path} is not open: use it in a `with` block")
        return self._reader

    def messages(
        self,
        topics: Sequence[str] = (),
        *,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Go through the messages in the order of their times.

        Args:
            topics: Only these topics; all if empty.
            start_ns: Only messages at or after this time, in nanoseconds.
            stop_ns: Only messages before this time, in nanoseconds.

        Raises:
            BagError: A topic is not in the bag, or the file is damaged.
        """
        reader = self._open()
        wanted = set(select(self.topics, topics, self.path))
        connections = [c for c in self._connections if c.topic in wanted]
        if not connections:
            return
        with damage_reported(self.path):
            for connection, time_ns, raw in reader.messages(connections, start_ns, stop_ns):
                msgtype = self._ros2_name(connection.msgtype)
                data = raw if reader.is2 else self.types.store.ros1_to_cdr(raw, msgtype)
                yield BagMessage(connection.topic, msgtype, time_ns, bytes(data))

    def decode(self, message: BagMessage) -> object:
        """Turn a message into an object with its fields, by the bag's own definition.

        Raises:
            BagError: The bytes do not fit the definition.
        """
        return self._types_for(message.msgtype).decode(message.msgtype, message.data)

    def description(self, topic: str) -> TypeDescription:
        """Definition and hash of a topic's type, as the bag has it."""
        msgtype = self.topics[select(self.topics, [topic], self.path)[0]].msgtype
        return self._types_for(msgtype).description(msgtype)

    def stamp_ns(self, message: BagMessage) -> int | None:
        """Header stamp of a message in nanoseconds; None if its type has none."""
        return self._types_for(message.msgtype).stamp_ns(message.msgtype, message.data)

    def _types_for(self, msgtype: str) -> MessageTypes:
        self._open()
        return self._own_types if msgtype in self._by_own_types else self.types


def check_path(path: Path) -> None:
    """Say what is wrong with a path before a library does.

    Raises:
        BagError: Missing, empty, without metadata, or no bag file.
    """
    if not path.exists():
        raise BagError(f"there is no bag at {path}: check the path")
    if path.is_file() and path.suffix not in SUFFIXES:
        raise BagError(f"{path} is no bag: give a bag folder or a file {', '.join(SUFFIXES)}")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        files = sorted(p.name for p in path.iterdir() if p.suffix in SUFFIXES)
        if not files:
            raise BagError(f"folder {path} holds no bag: neither metadata.yaml nor a bag file")
        raise BagError(
            f"bag {path} has no metadata.yaml, as after an interrupted recording: open the file "
            f"{path / files[0]} itself, or write the metadata with `ros2 bag reindex`"
        )


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn a library's complaints about a file into one sentence.

    Raises:
        BagError: In place of whatever the library raised.
    """
    try:
        yield
    except PermissionError as error:
        raise BagError(f"bag {path} may not be read: {error.strerror}") from error
    except DAMAGE as error:
        raise BagError(
            f"bag {path} is truncated or damaged ({error}): record or copy it again, or save what "
            "is left of an MCAP file with `mcap recover`"
        ) from error


def stored_connections(reader: AnyReader) -> list[Connection]:
    """Connections as the files have them, not as metadata.yaml has them.

    rosbags passes over every message whose connection metadata.yaml describes differently, as in
    bags that were converted to another format; a bag would then seem to be empty.
    """
    connections: list[Connection] = []
    for owner in {id(c.owner): c.owner for c in reader.connections}.values():
        parts = owner.storages if isinstance(owner, DirectoryReader) else [owner]
        connections += [c._replace(owner=owner) for part in parts for c in part.connections]
    return connections


def offered_qos(connection: Connection) -> list[TopicQos]:
    """What the publishers of a connection offered; ROS 1 knows only latching."""
    if isinstance(connection.ext, ConnectionExtRosbag2):
        return [from_rosbags(qos) for qos in connection.ext.offered_qos_profiles]
    return [TopicQos(latched=bool(connection.ext.latching))]
