"""Adapter of the pseudo depth's teacher, Depth Anything V2."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from occ_perception.blocks.depth_prior import DepthPrior, DepthPriorCheckpoint, DepthPriorConfig
from occ_perception.weights.convert import convert_state
from parity.cases import Case, Weights
from parity.compare import Check, Rule, absolute
from parity.field_tools import close
from parity.fill import fill_tensor
from parity.vipocc_net_cases import wave_image
from parity.vlscene_image_cases import recorded

FUSIONS = {f"p{4 - i}": f"neck.fusions.{i}" for i in range(4)}


def official_weights(case: Case) -> dict[str, Tensor]:
    """The teacher's state dict; its names are filled with a prefix of their own."""
    manifest = json.loads((case.folder / "dav2_manifest.json").read_text(encoding="utf-8"))
    return {
        key: torch.from_numpy(fill_tensor(f"depth_anything.{key}", shape, case.salt))
        * manifest["scale"].get(key, 1.0)
        for key, shape in manifest["state_dict"].items()
    }


def tokens(maps: Tensor) -> Tensor:
    """Every 37th patch and 16th channel of a map `[1, C, h, w]`."""
    return maps[0].flatten(1).T[::37, ::16]


def coarse(maps: Tensor) -> Tensor:
    """The stored picks of a refined map."""
    _, _, height, width = maps.shape
    return maps[0, ::16, :: height // 8, :: width // 20]


def dav2(case: Case, weights: Weights) -> dict[str, Any]:
    config = DepthPriorConfig(least_side=case.value("inputs.input_size"))
    model = DepthPrior(config).eval()
    state, _ = convert_state(DepthPriorCheckpoint(config), official_weights(case), "dav2")
    model.load_state_dict(state)
    seed, noise = case.numbers(r"image\(([^)]*)\)")
    bgr = ((wave_image(seed, noise).double() * 0.5 + 0.5) * 255).round().byte()
    image = (bgr.flip(0).double() / 255)[None]
    prepared = model.prepare(image).float()
    with recorded(model, FUSIONS | {"tok0": "encoder.vit.norm_pre"}) as layers:
        depth = model.depth(prepared)
        maps = model.encoder.normed(prepared)
    return {
        "x": prepared[0, :, ::6, ::10],
        "tok0": layers["tok0"][0, ::37, ::16],
        **{f"tok_l{i}": tokens(features) for i, features in enumerate(maps)},
        **{name: coarse(layers[name]) for name in FUSIONS},
        "depth_net": depth[0, 0, ::6, ::10],
        "depth": model(image.float())[0, 0, ::4, ::6],
    }


def rule(case: Case, name: str) -> Rule:
    """Input, tokens and depth have a tolerance each in the case's text."""
    if name == "x":
        return absolute(case.numbers(r"tensor ([\d.e-]+)", "tolerance")[0])
    if name.startswith("depth"):
        return absolute(case.numbers(r"depth ([\d.e-]+) m", "tolerance")[0])
    rtol = case.numbers(r"rtol ([\d.e-]+)", "tolerance")[0]
    return close(rtol, atol=rtol)  # values are about one in size


CASES: dict[str, Check] = {"dav2": Check(dav2, rule, heavy=True)}
