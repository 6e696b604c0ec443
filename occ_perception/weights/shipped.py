"""Weights that come with the package, so that a first run shows a real prediction.

They lie in the folder `shipped`: `SYSTEM_PRESET.safetensors`, its side file `.json`, and the model
card `.md` that says what they were trained on and how well they do.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("shipped")
RANDOM = "random"  # asks for random weights where shipped ones would be taken


def shipped_weights(system: str, preset: str, folder: Path = FOLDER) -> Path | None:
    """The weights of a system's preset that come with the package; None if there are none.

    Args:
        system: Name of the system.
        preset: Name of its preset.
        folder: Where they lie.
    """
    path = folder / f"{system}_{preset}.safetensors"
    return path if path.is_file() else None


def chosen_weights(wanted: str, system: str, preset: str, folder: Path = FOLDER) -> Path | None:
    """The file to load; None = random weights.

    Args:
        wanted: A file, "random", or nothing: the shipped weights, if the preset has some.
        system: Name of the system.
        preset: Name of its preset.
        folder: Where the shipped ones lie.
    """
    if wanted == RANDOM:
        return None
    return Path(wanted).expanduser() if wanted else shipped_weights(system, preset, folder)


def floors_of(weights: Path) -> Path:
    """What the training set of some weights teaches without images; not every file has one.

    Args:
        weights: The weights file.
    """
    return weights.with_name(f"{weights.stem}_floors.npz")
