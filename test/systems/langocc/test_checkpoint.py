"""Official layouts of LangOcc to ours and back."""

import json

import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.systems.langocc.checkpoint import LangOccCheckpoint, adopt_bevdet
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.model import LangOcc
from occ_perception.weights.convert import convert_state


@pytest.fixture
def manifest(golden_dir):
    path = golden_dir / "langocc/manifest.json"
    if not path.is_file():
        pytest.skip("the golden set has no LangOcc manifest")
    return json.loads(path.read_text())


def state_of(shapes):
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("variant", ["full", "reduced"])
def test_the_published_layouts_go_both_ways(manifest, variant):
    shapes = manifest["state_dict"]
    if variant == "reduced":
        shapes = {**shapes, **manifest["variant_reduced"]["replace"]}
    config = LangOccConfig() if variant == "full" else LangOccConfig.reduced()
    layout, official = LangOccCheckpoint(config), state_of(shapes)
    ours, report = convert_state(layout, official, "epoch_18_ema.pth")
    assert set(report.dropped) == {"counter of a batch norm"}
    back = layout.export(ours)
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in official.items()}


def test_kernels_are_turned_from_zyx_to_xyz_and_back(manifest):
    name = "final_conv.conv.weight"
    official = state_of(manifest["state_dict"])
    official[name] = torch.randn(manifest["state_dict"][name])
    layout = LangOccCheckpoint()
    ours, _ = convert_state(layout, official, "f")
    assert torch.equal(ours["final.0.weight"][..., 0, 1, 2], official[name][..., 2, 1, 0])
    assert torch.equal(layout.export(ours)[name], official[name])


def test_the_other_variant_is_refused(manifest):
    with pytest.raises(WeightsError):
        convert_state(
            LangOccCheckpoint(LangOccConfig.reduced()), state_of(manifest["state_dict"]), "f"
        )


def test_a_relative_gives_what_fits_and_tells_the_rest():
    network = LangOcc(LangOccConfig.nano())
    before = network.state_dict()["depth_net.context_conv.bias"].clone()
    official = {
        "img_backbone.bn1.weight": torch.full((64,), 3.0),
        "img_view_transformer.depth_net.context_conv.bias": torch.ones(80),
        "pts_bbox_head.shared_conv.conv.weight": torch.ones(1),
    }
    report = adopt_bevdet(network, official)
    assert report.adopted == ("backbone.bn1.weight",)
    assert report.unknown == ("pts_bbox_head.shared_conv.conv.weight",)
    assert "[80], here [12]" in str(report)
    state = network.state_dict()
    assert (state["backbone.bn1.weight"] == 3).all()
    assert torch.equal(state["depth_net.context_conv.bias"], before)
    with pytest.raises(WeightsError, match="BEVDet"):
        adopt_bevdet(network, {"something": torch.ones(1)})
