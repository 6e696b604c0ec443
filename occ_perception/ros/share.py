"""Finding the files that the package ships: launch files, configurations."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from occ_perception.core.errors import ConfigError

PACKAGE = "occ_perception"


def share_file(relative: str) -> Path:
    """Path of a shipped file, e.g. `config/vlscene.yaml`.

    Looked for in the ament index (installed ROS), the environment (pip), the repository (editable).

    Raises:
        ConfigError: The file is in none of them.
    """
    folders = list(_folders())
    for folder in folders:
        if (folder / relative).is_file():
            return folder / relative
    searched = ", ".join(str(folder) for folder in folders)
    raise ConfigError(f"shipped file '{relative}' not found in {searched}; install {PACKAGE} again")


def _folders() -> Iterator[Path]:
    try:
        from ament_index_python.packages import get_package_share_directory

        yield Path(get_package_share_directory(PACKAGE))
    except (ImportError, LookupError, OSError):  # PackageNotFoundError is a LookupError
        pass
    # The repository before the environment: an editable install copies data files of its day.
    repository = Path(__file__).resolve().parents[2]
    if (repository / "package.xml").is_file():
        yield repository
    yield Path(sys.prefix) / "share" / PACKAGE
