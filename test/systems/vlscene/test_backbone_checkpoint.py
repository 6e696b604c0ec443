import json

import pytest
import torch

from occ_perception.core.errors import WeightsError
from occ_perception.systems.vlscene.checkpoint import BackboneCheckpoint
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.weights.convert import convert_state


def test_the_imagenet_start_of_the_backbone_fits_strictly(golden_dir):
    manifest = json.loads((golden_dir / "vlscene/manifest.json").read_text())["state_dict"]
    prefix = "img_backbone."
    official = {
        key.removeprefix(prefix): torch.zeros(shape)
        for key, shape in manifest.items()
        if key.startswith(prefix)
    }
    official["classifier.classifier.l.weight"] = torch.zeros(1000, 640)
    state, report = convert_state(BackboneCheckpoint(), official, "repvit")
    with torch.device("meta"):
        backbone = VLScene(VLSceneConfig()).backbone
    backbone.load_state_dict(state, strict=False, assign=True)
    assert report.dropped["ImageNet classifier"] == 1
    del official["features.54.channel_mixer.m.0.c.weight"]
    with pytest.raises(WeightsError, match="lacks"):
        convert_state(BackboneCheckpoint(), official, "repvit")
    with pytest.raises(WeightsError, match="unknown entries"):
        convert_state(BackboneCheckpoint(), {"head.weight": torch.zeros(1)}, "repvit")
