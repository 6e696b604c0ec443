"""Message types outside of ROS: definitions, hashes, objects and stamps of serialized messages."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from occ_perception.core.errors import BagError

REPOSITORY = Path(__file__).resolve().parents[2]
NUMPY_NAMES = {"byte": "uint8", "char": "uint8"}
STAMPED = ("std_msgs/msg/Header", "builtin_interfaces/msg/Time")
# Where sec and nanosec lie: after CDR's 4 bytes, and after a list's length.
STAMP_FIRST, STAMP_IN_LIST = 4, 8


class TypeDescription(NamedTuple):
    """What a bag says about a message type: full definition text and RIHS01 hash."""

    definition: str
    type_hash: str


def share_folders() -> list[Path]:
    """Folders with one sub-folder per package: sourced workspaces, the environment, the clone."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [*(Path(p) / "share" for p in [*prefixes, sys.prefix]), REPOSITORY]


def definition_file(msgtype: str) -> Path:
    """The .msg file of a type.

    Raises:
        BagError: The package is not installed.
    """
    for folder in share_folders():
        path = folder / f"{msgtype}.msg"
        if path.is_file():
            return path
    package = msgtype.split("/")[0]
    raise BagError(
        f"message type {msgtype} is unknown here: install the package {package}, "
        "or source the workspace that holds it"
    )


class MessageTypes:
    """ROS 2 Jazzy's message types, and on demand those of every package that is installed."""

    def __init__(self, store: Typestore | None = None) -> None:
        self.store = store or get_typestore(Stores.ROS2_JAZZY)
        self._stamp_offsets: dict[str, int | None] = {}

    def require(self, msgtype: str) -> None:
        """Make a type known, together with the types of its fields.

        Args:
            msgtype: "package/msg/Name".

        Raises:
            BagError: There is no definition on this machine, or it cannot be parsed.
        """
        found: dict = {}
        waiting = [msgtype]
        while waiting:
            name = waiting.pop()
            if name in self.store.fielddefs or name in found:
                continue
            try:
                found |= get_types_from_msg(definition_file(name).read_text("utf-8"), name)
            except TypesysError as error:
                raise BagError(f"the definition of {name} cannot be parsed: {error}") from error
            waiting += [t for _, field in found[name][1] if (t := nested_type(field))]
        if found:
            self.store.register(found)

    def learn(self, types: Mapping) -> None:
        """Add parsed definitions of types that are not known yet (as ROS 1 bags carry them)."""
        self.store.register({k: v for k, v in types.items() if k not in self.store.fielddefs})

    def description(self, msgtype: str) -> TypeDescription:
        """Definition with all dependencies and hash, as bags store them."""
        self.require(msgtype)
        text, _ = self.store.generate_msgdef(msgtype, ros_version=2)
        return TypeDescription(text, self.store.hash_rihs01(msgtype))

    def decode(self, msgtype: str, data: bytes) -> object:
        """Turn CDR bytes into an object with the message's fields; numeric arrays are numpy.

        Raises:
            BagError: The bytes are no message of this type.
        """
        self.require(msgtype)
        try:
            return self.store.deserialize_cdr(data, msgtype)
        except SerdeError as error:
            raise BagError(f"a message is no valid {msgtype}: {error}") from error

    def encode(self, msgtype: str, message: object) -> bytes:
        """Serialize an object, or a mapping of fields, to CDR bytes.

        Args:
            msgtype: "package/msg/Name".
            message: Object of `decode` or `build`, or a mapping for `build`.

        Raises:
            BagError: A field is unknown or holds a value that its type cannot.
        """
        self.require(msgtype)
        if isinstance(message, Mapping):
            message = self.build(msgtype, message)
        try:
            return bytes(self.store.serialize_cdr(message, msgtype))
        except (struct.error, AttributeError, TypeError, ValueError) as error:
            raise BagError(f"a field of {msgtype} holds an impossible value: {error}") from error

    def build(self, msgtype: str, fields: Mapping[str, object]) -> object:
        """Make a message from nested mappings; fields that are not named are zero or empty.

        Args:
            msgtype: "package/msg/Name".
            fields: Values by field name: mappings for messages, sequences or arrays for arrays.

        Raises:
            BagError: A field does not exist.
        """
        self.require(msgtype)
        definition = dict(self.store.fielddefs[msgtype][1])
        if unknown := set(fields) - set(definition):
            raise BagError(
                f"{msgtype} has no field {', '.join(sorted(unknown))}; "
                f"it has {', '.join(definition)}"
            )
        values = {name: self._value(kind, fields.get(name)) for name, kind in definition.items()}
        return self.store.types[msgtype](**values)

    def _value(self, kind: tuple, value: object) -> object:
        """Value of one field in the form rosbags serializes."""
        node, detail = kind
        if node == Nodetype.NAME:
            return self.build(detail, value or {}) if is_mapping(value) else value
        if node == Nodetype.BASE:
            return zero_of(detail[0]) if value is None else value
        (element, description), length = detail
        if element == Nodetype.BASE and description[0] != "string":
            dtype = NUMPY_NAMES.get(description[0], description[0])
            return numeric_array(value, dtype, length if node == Nodetype.ARRAY else 0)
        items = value if value is not None else [None] * (length if node == Nodetype.ARRAY else 0)
        return [self._value((element, description), item) for item in items]

    def stamp_ns(self, msgtype: str, data: bytes) -> int | None:
        """Read the header stamp of a serialized message without decoding it.

        Args:
            msgtype: "package/msg/Name".
            data: CDR bytes.

        Returns:
            Nanoseconds, of the first element for lists of stamped messages (TFMessage); None if
            the type has no stamp in front, or the list is empty.
        """
        offset = self._stamp_offset(msgtype)
        order = "<" if data[1] else ">"
        if offset is None or len(data) < offset + 8:
            return None
        seconds, nanoseconds = struct.unpack_from(f"{order}iI", data, offset)
        return seconds * 10**9 + nanoseconds

    def _stamp_offset(self, msgtype: str) -> int | None:
        if msgtype not in self._stamp_offsets:
            self.require(msgtype)
            self._stamp_offsets[msgtype] = find_stamp(self.store, msgtype)
        return self._stamp_offsets[msgtype]


def find_stamp(store: Typestore, msgtype: str) -> int | None:
    """Byte at which a serialized message keeps its stamp."""
    first = store.fielddefs[msgtype][1][0][1]
    name = nested_type(first)
    if name is None or first[0] == Nodetype.ARRAY:
        return None
    if first[0] == Nodetype.NAME:
        return STAMP_FIRST if name in STAMPED else None
    inner = store.fielddefs[name][1][0][1]
    return STAMP_IN_LIST if inner[0] == Nodetype.NAME and inner[1] in STAMPED else None


def nested_type(field: tuple) -> str | None:
    """Message type that a field, or an element of it, consists of."""
    node, detail = field
    if node in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        node, detail = detail[0]
    return detail if node == Nodetype.NAME else None


def is_mapping(value: object) -> bool:
    """Does the value still have to be built into a message?"""
    return value is None or isinstance(value, Mapping)


def zero_of(name: str) -> object:
    """Value of a field that nobody set."""
    return {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(name, 0)


def numeric_array(value: object, dtype: str, length: int) -> np.ndarray:
    """One-dimensional array in the type of the field; `length` is for fields of fixed size."""
    if value is None:
        return np.zeros(length, dtype)
    if isinstance(value, bytes | bytearray | memoryview):
        return np.frombuffer(value, dtype)
    return np.ascontiguousarray(value, dtype).reshape(-1)
