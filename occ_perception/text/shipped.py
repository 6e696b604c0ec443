"""Text embeddings that come with the package, so that known words need no text encoder."""

from __future__ import annotations

import re
from pathlib import Path

from occ_perception.text.embeddings import TextEmbeddings, load_embeddings

FOLDER = Path(__file__).with_name("tables")


def table_path(clip: str, folder: Path = FOLDER) -> Path:
    """Where the words of a text encoder lie."""
    return folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', clip)}.safetensors"


def shipped_embeddings(clip: str, folder: Path = FOLDER) -> TextEmbeddings | None:
    """The stored words of a text encoder; None if there are none.

    Args:
        clip: Which text encoder, as `TextEmbeddings.clip`.
        folder: Where the tables lie.

    Raises:
        ConfigError: The file is damaged or from another CLIP.
    """
    path = table_path(clip, folder)
    return load_embeddings(path, clip) if path.is_file() else None
