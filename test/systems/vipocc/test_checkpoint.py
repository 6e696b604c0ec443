"""Official ViPOcc and BTS checkpoints convert strictly."""

import json

import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.systems.vipocc.checkpoint import ViPOccCheckpoint
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.weights.convert import convert_state, state_dict_of


@pytest.fixture(scope="module")
def official(golden_dir):
    manifest = json.loads((golden_dir / "vipocc/manifest.json").read_text())
    state = {key: torch.zeros(shape) for key, shape in manifest["state_dict"].items()}
    frequencies = 1.5 * 2.0 ** torch.arange(6).repeat_interleave(2)
    state["renderer.net.code_xyz._freqs"] = frequencies.view(1, 12, 1)
    return state


def test_the_published_layout_fills_the_network(official):
    ours, report = convert_state(ViPOccCheckpoint(), official, "published")
    assert report.kept == len(ours) == len(ViPOccCheckpoint().wanted())
    assert sum(report.dropped.values()) == len(official) - report.kept


def test_nested_and_parallel_checkpoints_are_unwrapped(official):
    nested = {"trainer": {}, "model": {f"module.{k}": v for k, v in official.items()}}
    assert state_dict_of(nested, "nested").keys() == official.keys()


def test_bts_files_need_no_depth_branch(official):
    unused = ("res_inv_depth.", "renderer.net.encoder.depth_decoder.")
    bts = {k: v for k, v in official.items() if not k.startswith(unused)}
    convert_state(ViPOccCheckpoint(ViPOccConfig.bts()), bts, "bts")
    with pytest.raises(WeightsError, match="lacks"):
        convert_state(ViPOccCheckpoint(), bts, "bts")


def test_the_feature_of_unseen_points_is_kept_only_when_wanted(official):
    learnt = official | {"renderer.net.empty_feature": torch.ones(64)}
    kept, _ = convert_state(ViPOccCheckpoint(ViPOccConfig(learn_empty=True)), learnt, "learnt")
    assert kept["density_net.field.empty_feature"].eq(1).all()
    dropped, _ = convert_state(ViPOccCheckpoint(), learnt, "learnt")
    assert "density_net.field.empty_feature" not in dropped


def test_unknown_entries_and_other_frequencies_are_refused(official):
    with pytest.raises(WeightsError, match="unknown"):
        convert_state(ViPOccCheckpoint(), official | {"renderer.net.extra": torch.ones(1)}, "x")
    other = official | {"renderer.net.code_xyz._freqs": torch.ones(1, 12, 1)}
    with pytest.raises(WeightsError, match="frequencies"):
        convert_state(ViPOccCheckpoint(), other, "x")
