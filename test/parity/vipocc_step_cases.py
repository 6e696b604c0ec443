"""Adapter of ViPOcc's training step: renderings, losses and gradients, with both batch norms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from occ_perception.systems.vipocc.checkpoint import RULES
from occ_perception.systems.vipocc.model import ViPOcc
from occ_training.data.patches import Patches
from occ_training.data.views import MultiView, Partition
from occ_training.losses.rendering import unseen_share
from occ_training.recipes.rendered_patches import PatchDraws
from occ_training.recipes.vipocc_step import Draws, LossWeights, StepResult, train_step
from parity.cases import Case, Weights
from parity.compare import Check, Rule, exact, relative
from parity.field_tools import close, filled
from parity.vipocc_net_cases import CONFIG, SIZE, intrinsics, pseudo_depth, wave_image

PATCH = 8
MODES = ("eval_bn", "train")
TERMS = {
    "total": None,
    "loss_rgb_coarse": "rgb",
    "loss_depth_recon": "recon",
    "loss_temp_align": "temporal",
    "loss_invalid_ratio": "invalid_ratio",
}
INPUTS = frozenset({"poses_c2w"})


def batch(case: Case, weights: Weights) -> MultiView:
    """The case's eight views of two samples.

    The official code re-bases poses in float32 (we: float64). Those few micrometres move points
    beside a camera far across its image, so its rounding is repeated here.
    """
    poses = torch.from_numpy(case.stored["poses_c2w"])
    poses = torch.linalg.inv(poses[:, :1]) @ poses
    samples, views = poses.shape[:2]
    base, per_sample = case.integers(r"image\((\d+\+\d+)\*b", "inputs.images")
    noise = case.numbers(r"image\([^,]*, ([\d.]+)\)", "inputs.images")[0]
    first, per_frame = case.integers(r"pseudo\((\d+\+\d+)\*f", "inputs.pseudo_depth")
    images = [
        torch.stack([wave_image(base + per_sample * b + v, noise) for v in range(views)])
        for b in range(samples)
    ]
    pseudo = [
        torch.stack([pseudo_depth(first + per_frame * f + b) for f in range(2)])
        for b in range(samples)
    ]
    K = intrinsics(weights).expand(samples, views, 3, 3)
    return MultiView(torch.stack(images), K, poses, torch.stack(pseudo))


def draws(case: Case, samples: int) -> tuple[Draws, dict[str, Tensor]]:
    """The case's random choices, drawn again; the patches are compared as well."""
    text = case.value("inputs.random")
    seed = int(re.search(r"PCG64\((\d+)\)", text).group(1))
    counts = [len(case.stored[name]) for name in ("patch_view", "depth_patch_y")]
    rng = np.random.Generator(np.random.PCG64(seed))

    def draw(bound: int, count: int) -> Tensor:
        return torch.from_numpy(rng.integers(0, bound, (count, 1)))

    view = draw(len(case.value("inputs.loss_views")), counts[0])
    y, x = (draw(side - PATCH, counts[0]) for side in SIZE)
    depth_y, depth_x = (draw(side - PATCH, counts[1]) for side in SIZE)

    def shared(*columns: Tensor) -> Patches:
        return Patches(*(c.T.expand(samples, -1) for c in columns), PATCH)

    def jitter(count: int) -> Tensor:
        drawn = rng.random((samples * count * PATCH**2, CONFIG.samples)).astype(np.float32)
        return torch.from_numpy(drawn).unflatten(0, (samples, -1))

    partition = Partition(case.value("inputs.loss_views"), case.value("inputs.render_views"))
    step = Draws(
        PatchDraws(partition, shared(view, y, x), jitter(counts[0])),
        shared(torch.zeros_like(depth_y), depth_y, depth_x),
        jitter(counts[1]),
        case.value("inputs.flip_augmentation"),
    )
    named = {"patch_view": view, "patch_y": y, "patch_x": x}
    return step, named | {"depth_patch_y": depth_y, "depth_patch_x": depth_x}


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients by our parameter names."""
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def check_norms(grads: Mapping[str, Tensor], told: Mapping[str, float], rtol: float) -> None:
    """Every gradient norm that the case tells, under its official name."""
    ours = {name: float(grads[RULES.rename(name)].norm()) for name in told}
    wrong = [
        f"{n}: {v:g}, official {told[n]:g}" for n, v in ours.items() if not _near(v, told[n], rtol)
    ]
    assert not wrong, f"gradient norms differ: {wrong[:5]}"


def _near(value: float, told: float, rtol: float) -> bool:
    return math.isclose(value, told, rel_tol=rtol)


def described(
    case: Case, mode: str, step: StepResult, grads: Mapping[str, Tensor]
) -> dict[str, Any]:
    """One mode's arrays and losses under the names of the case."""
    patches = step.patches
    samples = patches.samples
    arrays = {
        "rgb": patches.colours,
        "weights": samples.weights[:, ::3, ::4, ::4],
        "depth": patches.distance_m,
        "invalid_any": unseen_share(samples.weights, samples.outside),
        "pred_depth_0": step.predicted_depth_m[:, 0, 0, ::12, ::16],
        "pred_depth_1": step.predicted_depth_m[:, 1, 0, ::12, ::16],
        "rec_pred": step.consistency[0],
        "rec_rend": step.consistency[1],
    }
    outputs = {f"{mode}_{name}": value for name, value in arrays.items()}
    prefix = f"{mode}_grad_"
    for name in (n for n in case.stored if n.startswith(prefix)):
        grad = grads[RULES.rename(name.removeprefix(prefix))].flatten()
        outputs[name] = grad[:: max(1, grad.numel() // 256)]
    for told, term in TERMS.items():
        outputs[f"losses.{mode}.{told}"] = step.terms[term] if term else step.total
    return outputs


def train_step_case(case: Case, weights: Weights) -> dict[str, Any]:
    views = batch(case, weights)
    step_draws, outputs = draws(case, len(views.images))
    rtol = case.numbers(r"gradients rtol ([\d.e-]+)", "tolerance")[0]
    for mode in MODES:
        model = filled(ViPOcc(CONFIG), weights, RULES).train(mode == "train")
        with torch.enable_grad():
            step = train_step(model, views, step_draws, LossWeights())
            step.total.backward()
        check_norms(gradients(model), case.value(f"grad_norms.{mode}"), rtol)
        outputs |= described(case, mode, step, gradients(model))
    return {**outputs, "rgb_gt": step.patches.target}


def rule(case: Case, name: str) -> Rule:
    """Losses, gradients and layers have a tolerance each; drawn integers are equal."""
    if name in case.stored and case.stored[name].dtype.kind in "iub":
        return exact
    if name.startswith("losses."):
        return close(case.numbers(r"losses rtol ([\d.e-]+)", "tolerance")[0])
    if "_grad_" in name:
        return relative(case.numbers(r"gradients rtol ([\d.e-]+)", "tolerance")[0])
    return close(1e-3, 2e-4)  # "as in net"


CASES: dict[str, Check] = {
    "train_step": Check(
        train_step_case,
        rule,
        inputs=INPUTS,
        also=tuple(f"losses.{mode}.{term}" for mode in MODES for term in TERMS),
        heavy=True,
    )
}
