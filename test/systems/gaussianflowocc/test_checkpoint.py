"""Official layout of GaussianFlowOcc to ours and back."""

import json

import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.systems.gaussianflowocc.checkpoint import (
    GaussianFlowOccCheckpoint,
    ResNetCheckpoint,
)
from occ_perception.weights.convert import convert_state

RANGE = "gaussian_decoder.pos_enc.pc_range"


@pytest.fixture
def official(golden_dir):
    path = golden_dir / "gaussianflowocc/manifest.json"
    if not path.is_file():
        pytest.skip("the golden set has no GaussianFlowOcc manifest")
    manifest = json.loads(path.read_text())
    state = {k: torch.zeros(()).expand(s) for k, s in manifest["state_dict"].items()}
    return {**state, RANGE: torch.tensor(manifest["constant"][RANGE])}


def test_the_published_layout_goes_both_ways(official):
    layout = GaussianFlowOccCheckpoint()
    ours, report = convert_state(layout, official, "epoch_18_ema.pth")
    assert set(report.dropped) == {"counter of a batch norm"}
    back = layout.export(ours)
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in official.items()}


def test_another_range_is_refused(official):
    official[RANGE] = torch.tensor([-50.0, -50, -5, 50, 50, 3])
    with pytest.raises(WeightsError, match="trained on the range"):
        convert_state(GaussianFlowOccCheckpoint(), official, "file.pth")


def test_strangers_and_gaps_are_refused(official):
    with pytest.raises(WeightsError, match=r"color_head\.0\.weight"):
        convert_state(
            GaussianFlowOccCheckpoint(), {**official, "color_head.0.weight": torch.ones(1)}, "f"
        )
    del official["semantic_head.0.weight"]
    with pytest.raises(WeightsError, match="semantic_head"):
        convert_state(GaussianFlowOccCheckpoint(), official, "f")


def test_the_published_start_of_the_backbone_converts():
    layout = ResNetCheckpoint()
    wanted = layout.wanted()
    file = {k: torch.zeros(()).expand(s) for k, s in wanted.items()}
    file |= {"fc.weight": torch.zeros(1000, 2048), "bn1.num_batches_tracked": torch.tensor(0)}
    ours, report = convert_state(layout, file, "resnet50.pth")
    assert ours.keys() == wanted.keys() and len(ours) == 265
    assert set(report.dropped) == {"ImageNet classifier", "counter of a batch norm"}
    with pytest.raises(WeightsError, match="stranger"):
        convert_state(layout, {**file, "stranger.weight": torch.zeros(1)}, "resnet50.pth")
