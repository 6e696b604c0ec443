"""What comes with the package loads, is small, and has a card."""

from pathlib import Path

import pytest

from occ_perception.systems.catalog import build_system
from occ_perception.weights.load import load_weights
from occ_perception.weights.shipped import FOLDER, chosen_weights, shipped_weights

MOST_BYTES = 8_000_000
FILES = sorted(FOLDER.glob("*.safetensors"))


def test_a_name_a_file_or_nothing(tmp_path):
    assert shipped_weights("vlscene", "tiny", tmp_path) is None
    assert chosen_weights("", "vlscene", "tiny", tmp_path) is None
    assert chosen_weights("other.safetensors", "vlscene", "tiny", tmp_path) == Path(
        "other.safetensors"
    )
    ours = tmp_path / "vlscene_tiny.safetensors"
    ours.touch()
    assert chosen_weights("", "vlscene", "tiny", tmp_path) == ours
    assert chosen_weights("random", "vlscene", "tiny", tmp_path) is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_weights_fit_their_preset_and_have_a_card(path):
    name, preset = path.stem.rsplit("_", 1)
    system = build_system(name, preset=preset)
    assert load_weights(system.network, path, name).system == name
    assert path.stat().st_size <= MOST_BYTES
    assert path.with_suffix(".md").stat().st_size > 500
