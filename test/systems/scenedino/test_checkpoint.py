"""Official SceneDINO checkpoints convert strictly, for other image sizes too."""

import json

import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.systems.scenedino.checkpoint import SceneDinoCheckpoint, TargetCheckpoint
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.weights.convert import convert_state


def published(golden_dir, name):
    manifest = json.loads((golden_dir / f"scenedino/{name}.json").read_text())
    return {key: torch.zeros(shape) for key, shape in manifest["state_dict"].items()}


@pytest.mark.parametrize(
    ("name", "config"),
    [("manifest", SceneDinoConfig()), ("manifest_dinov2", SceneDinoConfig.dinov2())],
)
def test_the_published_layouts_fill_network_and_targets(golden_dir, name, config):
    official = published(golden_dir, name)
    for checkpoint in (SceneDinoCheckpoint(config), TargetCheckpoint(config)):
        _, report = convert_state(checkpoint, official, name)
        assert report.kept == len(checkpoint.wanted())


def test_stage_one_files_have_no_semantic_head(golden_dir):
    official = published(golden_dir, "manifest")
    first = {k: v for k, v in official.items() if ".downstream_head." not in k}
    convert_state(SceneDinoCheckpoint(SceneDinoConfig(classes=0)), first, "stage 1")
    convert_state(SceneDinoCheckpoint(SceneDinoConfig(classes=0)), official, "stage 2")
    with pytest.raises(WeightsError, match="lacks"):
        convert_state(SceneDinoCheckpoint(), first, "stage 1")


def test_positions_are_resampled_for_other_images(golden_dir):
    official = published(golden_dir, "manifest")
    key = "renderer.net.encoder.encoder.model.vit.pos_embed"
    ramp = torch.linspace(0, 1, 80).repeat(24)
    official[key][0, 1:, 0] = ramp
    official[key][0, 0] = 5.0
    config = SceneDinoConfig(input_size=(96, 320))
    ours, _ = convert_state(SceneDinoCheckpoint(config), official, "smaller")
    table = ours["encoder.transformer.vit.pos_embed"]
    assert table.shape == (1, 1 + 12 * 40, 768) and table[0, 0].eq(5).all()
    rows = table[0, 1:, 0].view(12, 40)
    assert (rows.diff(dim=1) > 0).all() and rows.std(dim=0).max() < 1e-5


def test_unknown_entries_are_refused(golden_dir):
    official = published(golden_dir, "manifest") | {"renderer.net.extra": torch.ones(1)}
    with pytest.raises(WeightsError, match="unknown"):
        convert_state(SceneDinoCheckpoint(), official, "x")
