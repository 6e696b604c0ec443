"""The map of official VLScene checkpoints, on a synthetic checkpoint of the published layout."""

import json

import pytest
import torch
from safetensors.torch import load_file

from occ_perception.core.errors import WeightsError
from occ_perception.systems.vlscene.checkpoint import (
    VLSceneCheckpoint,
    relayout_official,
    rename_official,
)
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.weights.convert import convert_file, convert_state
from occ_perception.weights.load import load_weights

GRID = {
    "img_view_transformer.dx": torch.tensor([0.4, 0.4, 0.4]),
    "img_view_transformer.bx": torch.tensor([0.2, -25.4, -1.8]),
    "img_view_transformer.nx": torch.tensor([128.0, 128.0, 16.0]),
}


@pytest.fixture(scope="module")
def layout(golden_dir):
    manifest = golden_dir / "vlscene/manifest.json"
    if not manifest.is_file():
        pytest.skip("the golden set has no VLScene manifest")
    return json.loads(manifest.read_text())


@pytest.fixture(scope="module")
def checkpoint_map():
    return VLSceneCheckpoint()


def official_state(layout, device="cpu"):
    torch.manual_seed(0)
    state = {key: torch.rand(shape, device=device) for key, shape in layout["state_dict"].items()}
    return {**state, **GRID, "clip_net.vlseg_encoder.scratch.head1.bias": torch.rand(4).half()}


def test_published_layout_converts_and_loads(layout, checkpoint_map, tmp_path):
    state = official_state(layout)
    source, target = tmp_path / "some.pth", tmp_path / "vlscene.safetensors"
    torch.save({"meta": {"epoch": 30}, "state_dict": state, "optimizer": {"state": {}}}, source)
    report = convert_file(checkpoint_map, source, target)
    assert sum(report.dropped.values()) + report.kept == len(state)
    assert report.dropped["constant, follows from the grid"] == 4
    assert report.dropped["teacher, needed for training only"] == 1

    with torch.device("meta"):
        network = VLScene(VLSceneConfig())
    network.to_empty(device="cpu")
    info = load_weights(network, target, "vlscene")
    assert info.grid["shape"] == [256, 256, 32]
    loaded = network.state_dict()
    for key in state:
        if checkpoint_map.drop_reason(key) is None:
            ours = loaded[rename_official(key)]
            assert torch.equal(ours, relayout_official(key, state[key])), key
    assert set(load_file(target)) == set(checkpoint_map.wanted())


def test_every_official_name_has_one_place(layout, checkpoint_map):
    kept = [k for k in layout["state_dict"] if checkpoint_map.drop_reason(k) is None]
    renamed = {rename_official(key) for key in kept}
    assert len(renamed) == len(kept)
    assert renamed == set(checkpoint_map.wanted())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"pts_bbox_head.new.weight": torch.zeros(1)}), "pts_bbox_head.new"),
        (lambda s: s.pop("sparse_unet.resBlock2.pool.weight"), "lacks sparse_unet.pool_half"),
        (lambda s: s.update({"img_view_transformer.dx": torch.full((3,), 0.5)}), "another grid"),
    ],
)
def test_differences_are_refused(layout, checkpoint_map, change, message):
    state = {key: torch.empty(shape, device="meta") for key, shape in layout["state_dict"].items()}
    state.update(GRID)
    change(state)
    with pytest.raises(WeightsError, match=message):
        convert_state(checkpoint_map, state, "some.pth")


def test_sparse_kernels_change_layout_and_dense_ones_do_not():
    sparse = torch.rand(4, 1, 3, 3, 2)
    ours = relayout_official("sparse_unet.downCntx.conv1.weight", sparse)
    assert ours.shape == (4, 2, 1, 3, 3)
    assert ours[3, 1, 0, 2, 1] == sparse[3, 0, 2, 1, 1]
    dense = torch.rand(4, 2, 3, 3, 3)
    assert relayout_official("sparse_unet.pre_conv.2.conv3.weight", dense) is dense
    assert relayout_official("pts_bbox_head.sdb.conv_in.weight", dense) is dense
