"""Adapter of VLScene's teacher, LSeg."""

from __future__ import annotations

from torch import Tensor

from occ_perception.text.tower import tokens_of
from occ_perception.weights.convert import convert_state
from occ_training.labels.lseg import LSeg, LSegCheckpoint, LSegConfig
from occ_training.labels.teacher import OUTDOOR_CLASSES
from parity.cases import Case, Weights, normal
from parity.compare import Check, Outputs, Rule, exact
from parity.vlscene_image_cases import recorded
from parity.vlscene_volume_cases import rule_from_text

LAYERS = {
    "block5": "encoder.vit.blocks.5",
    "block23": "encoder.vit.blocks.23",
    "scratch_layer1_rn": "neck.aligns.0",
    "scratch_layer4_rn": "neck.aligns.3",
    "scratch_refinenet4": "neck.fusions.0",
    "scratch_refinenet1": "neck.fusions.3",
    "scratch_head1": "to_text",
}


def teacher(case: Case, weights: Weights) -> Outputs:
    """The whole teacher at full size."""
    config = LSegConfig()
    official = weights.official("clip_net.", "state_dict_teacher")
    state, _ = convert_state(LSegCheckpoint(config), official, "teacher")
    del official
    network = LSeg(config).eval()
    network.load_state_dict(state, strict=False)  # batch counters only, see `convert_state`
    image = coarse_image(case)
    assert case.value("labels") == list(OUTDOOR_CLASSES)
    text = network.text.encode(OUTDOOR_CLASSES)
    with recorded(network, LAYERS) as layers:
        answer = network(image, text)
    tokens = tokens_of(OUTDOOR_CLASSES)[:, : case.stored["tokens"].shape[1]]
    return {
        "tokens": tokens.numpy().astype(case.stored["tokens"].dtype),
        "padded_input": network.padded_input(image),
        **{name: layers[name] for name in LAYERS},
        "text_feat": text,
        "seg_logits": answer.seg_logits,
        "vl_feat": answer.features,
        "seg_mask": answer.seg_logits.argmax(dim=1, keepdim=True),
    }


def coarse_image(case: Case) -> Tensor:
    """The fixture's image: coarse noise, every value a block of pixels."""
    coarse = normal(case.rng(), case.integers(r"standard_normal \(([\d,]+)\)"))
    height, width = case.integers(r"repeated to ([\dx]+) ")
    return coarse.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)


def rule(case: Case, name: str) -> Rule:
    """Tokens are equal; numbers within the case's tolerance; arg-max may flip where two tie."""
    return exact if name == "tokens" else rule_from_text(case, name)


CASES = {"teacher": Check(teacher, rule, heavy=True)}
