"""Info pickles, in which nuScenes code passes its tables on, read without running what they carry.

A pickle is a program. This reader knows numbers, texts, containers and numpy arrays; a file that
asks for anything else is refused before it can act.
"""

from __future__ import annotations

import io
import pickle  # only subclassed: find_class decides what a file may name
from pathlib import Path
from typing import Any, ClassVar

from occ_training.convert.files import read_bytes
from occ_training.convert.report import DatasetError


class RefusedNameError(Exception):
    """A pickle names something that is not a value."""


class PlainUnpickler(pickle.Unpickler):
    """Builds numbers, texts, containers and numpy arrays, nothing else."""

    ALLOWED: ClassVar[frozenset[tuple[str, str]]] = frozenset(
        {
            ("collections", "OrderedDict"),
            ("_codecs", "encode"),  # bytes in pickles of protocol 2
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            *(
                (f"numpy.{core}.{module}", name)
                for core in ("core", "_core")
                for module, name in (
                    ("multiarray", "_reconstruct"),
                    ("multiarray", "scalar"),
                    ("numeric", "_frombuffer"),
                )
            ),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """Look up what a file names, if it is a value."""
        if (module, name) not in self.ALLOWED:
            raise RefusedNameError(f"{module}.{name}")
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Refuse references to outside of the file."""
        raise RefusedNameError(f"persistent object {pid}")


def read_infos(path: Path) -> Any:
    """Content of an info pickle.

    Raises:
        DatasetError: It carries code, or is no pickle.
    """
    data = read_bytes(path)
    try:
        return PlainUnpickler(io.BytesIO(data)).load()
    except RefusedNameError as error:
        raise DatasetError(
            f"{path} names {error}, which is not data: it may run code when opened; use the json "
            "tables, or infos from a source you trust that hold numbers and texts only"
        ) from error
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        KeyError,
        TypeError,
        UnicodeDecodeError,
        ValueError,
    ) as error:
        raise DatasetError(f"{path} is no whole pickle ({error}): fetch it again") from error
