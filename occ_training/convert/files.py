"""Reading a data set's files with every doubt: sizes, ends, numbers, and where paths lead."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from occ_training.convert.report import DatasetError, Report

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PNG_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
JPEG_END = b"\xff\xd9"
# Start-of-frame markers: C0..CF without the tables C4 (Huffman), C8 (reserved), CC (arithmetic).
START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
NO_MATRICES = ("calib_time", "corner_dist")
COPY_AGAIN = "copy the file again from the data set"


class EncodedImage(NamedTuple):
    """An image file as it is.

    Attributes:
        data: Its bytes.
        form: "png" or "jpeg", as sensor_msgs/CompressedImage names it.
        width: Pixels.
        height: Pixels.
    """

    data: bytes
    form: str
    width: int
    height: int


def inside(root: Path, relative: str) -> Path:
    """A path that a table of the data set names, which must not lead out of the data set.

    Raises:
        DatasetError: It is absolute or climbs above the root.
    """
    parts = Path(relative).parts
    if Path(relative).is_absolute() or ".." in parts or not parts:
        raise DatasetError(
            f"path '{relative}' leads out of {root}: the table that names it is not to be trusted, "
            "fetch it again from the publisher"
        )
    return root / relative


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        DatasetError: It is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing: {COPY_AGAIN}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}): {COPY_AGAIN}") from error


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        DatasetError: It is missing, cannot be read or is no text.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text file: {COPY_AGAIN}") from error


def read_array(path: Path, dtype: str, count: int | None = None) -> npt.NDArray[np.generic]:
    """Numbers of a binary file.

    Args:
        path: File.
        dtype: numpy type with byte order, e.g. "<f4".
        count: Numbers that there must be; None = any whole number of them.

    Raises:
        DatasetError: The file is missing or has another size.
    """
    data = read_bytes(path)
    size = np.dtype(dtype).itemsize
    if len(data) % size or (count is not None and len(data) != count * size):
        wanted = f"{count * size} bytes" if count is not None else f"a multiple of {size} bytes"
        raise DatasetError(f"{path} has {len(data)} bytes instead of {wanted}: {COPY_AGAIN}")
    return np.frombuffer(data, dtype)


def read_image(path: Path, size: tuple[int, int] | None = None) -> EncodedImage:
    """An image file, complete and of the expected size; it is not decoded.

    Args:
        path: PNG or JPEG file.
        size: Width and height that the calibration belongs to.

    Raises:
        DatasetError: Missing, no PNG or JPEG, cut off, damaged, or of another size.
    """
    data = read_bytes(path)
    if data.startswith(PNG):
        image = EncodedImage(data, "png", *png_size(data, path))
    elif data.startswith(JPEG):
        image = EncodedImage(data, "jpeg", *jpeg_size(data, path))
    else:
        raise DatasetError(f"{path} is neither PNG nor JPEG: {COPY_AGAIN}")
    if size is not None and (image.width, image.height) != size:
        raise DatasetError(
            f"{path} is {image.width}x{image.height}, the calibration belongs to "
            f"{size[0]}x{size[1]}: use the calibration of this recording"
        )
    return image


def png_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of a PNG whose every block has the right checksum.

    Raises:
        DatasetError: A block is damaged or the end is missing.
    """
    view, position = memoryview(data), len(PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise DatasetError(f"{path} is damaged at byte {position}: {COPY_AGAIN}")
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        position = end
    raise DatasetError(f"{path} is cut off after {len(data)} bytes: {COPY_AGAIN}")


def jpeg_size(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of a JPEG that has an end.

    Raises:
        DatasetError: The end or the frame header is missing.
    """
    if not data.rstrip(b"\0").endswith(JPEG_END):
        raise DatasetError(f"{path} is cut off after {len(data)} bytes: {COPY_AGAIN}")
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise DatasetError(f"{path} has no frame header: {COPY_AGAIN}")


def numbered(folder: Path, *suffixes: str) -> dict[int, Path]:
    """Files whose whole name is a number, in ascending order; others are passed over."""
    if not folder.is_dir():
        return {}
    found = (p for p in folder.iterdir() if p.suffix in suffixes and p.stem.isdecimal())
    return {int(p.stem): p for p in sorted(found, key=lambda p: int(p.stem))}


def check_numbers(path: Path, words: Sequence[str], count: int, line: int) -> list[float]:
    """Finite numbers of one line of a text file.

    Raises:
        DatasetError: There are more or fewer of them, or one is no finite number.
    """
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise DatasetError(
            f"{path} line {line}: {count} finite numbers expected, got '{' '.join(words)[:60]}': "
            f"{COPY_AGAIN}"
        )
    return numbers


def nanoseconds(path: Path, seconds: str, line: int) -> int:
    """Seconds as text to nanoseconds, with every digit that is there.

    Raises:
        DatasetError: It is no number.
    """
    try:
        value = Decimal(seconds)
        if not value.is_finite():
            raise InvalidOperation
    except InvalidOperation as error:
        raise DatasetError(
            f"{path} line {line}: '{seconds[:40]}' is no time: {COPY_AGAIN}"
        ) from error
    return round(value * 10**9)


def read_stamps(path: Path, parse: Callable[[Path, str, int], int]) -> dict[int, int]:
    """Stamps by line number from 0 of a file with one time per line.

    Args:
        path: Text file; empty lines at its end do not count.
        parse: Turns path, text and line number from 1 into nanoseconds.

    Raises:
        DatasetError: Missing, or a line is no time.
    """
    lines = read_text(path).rstrip().splitlines()
    return {i: parse(path, line.strip(), i + 1) for i, line in enumerate(lines)}


def ascending(stamps_ns: dict[int, int], path: Path, report: Report) -> dict[int, int]:
    """Stamps without those that are not after all earlier ones; these are reported."""
    kept: dict[int, int] = {}
    newest: int | None = None
    for index, stamp_ns in stamps_ns.items():
        if newest is not None and stamp_ns <= newest:
            report.problem(
                f"{path} line {index + 1}: the time does not go forward, frame {index} is left "
                "out: mend the line or fetch the file again"
            )
            continue
        kept[index] = newest = stamp_ns
    return kept


def note_gaps(report: Report, folder: Path, found: Iterable[int], expected: Iterable[int]) -> None:
    """Report frames that should be there and are not, as ranges."""
    missing = sorted(set(expected) - set(found))
    if missing:
        report.problem(
            f"{folder} lacks {len(missing)} frames ({ranges(missing)}): "
            "copy them from the data set, the others are converted"
        )


def ranges(numbers: Sequence[int], most: int = 5) -> str:
    """Ascending numbers as "1-4, 7, ..."."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    texts = [f"{a}-{b}" if b > a else str(a) for a, b in runs[:most]]
    return ", ".join([*texts, "..."] if len(runs) > most else texts)


def read_table(path: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Lines "name: number number ..." of a calibration file; dates are left out.

    Raises:
        DatasetError: Missing, or a line mixes numbers and text.
    """
    table: dict[str, npt.NDArray[np.float64]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name, _, rest = line.partition(":")
        words = rest.split()
        if not words or name.strip() in NO_MATRICES:
            continue
        table[name.strip()] = np.array(check_numbers(path, words, len(words), number))
    return table


def entry(
    table: dict[str, npt.NDArray[np.float64]], name: str, shape: tuple[int, ...], path: Path
) -> npt.NDArray[np.float64]:
    """One matrix of a calibration table.

    Raises:
        DatasetError: It is not there or has another number of values.
    """
    if name not in table:
        raise DatasetError(f"{path} has no {name}: take the calibration file of this recording")
    if table[name].size != np.prod(shape):
        raise DatasetError(
            f"{path}: {name} has {table[name].size} numbers instead of {np.prod(shape)}: "
            "take the calibration file of this recording"
        )
    return table[name].reshape(shape)
