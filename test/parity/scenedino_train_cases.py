"""Adapters of SceneDINO's losses and of the steps of both stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from occ_perception.core.cityscapes import kitti360_train_ids
from occ_perception.systems.scenedino.checkpoint import MODEL_RULES, TARGET_RULES
from occ_perception.systems.scenedino.semantic_head import SemanticHead, unit
from occ_perception.systems.scenedino.targets import SalienceDownsampler, cut_patches
from occ_training.data.patches import GridCells
from occ_training.data.views import MultiView, Partition
from occ_training.losses.photometric import edge_aware_smoothness, patch_error
from occ_training.losses.rendering import INVALID_POLICIES, RaySamples
from occ_training.losses.stego import CropBuffer
from occ_training.recipes.rendered_patches import RenderedPatches
from occ_training.recipes.scenedino_semantics import (
    PartnerDraws,
    correlate_crops,
    distillation_terms,
    probing_terms,
)
from occ_training.recipes.scenedino_step import (
    Draws,
    LossWeights,
    RenderedFeatures,
    StepResult,
    loss_terms,
    total_loss,
    train_step,
)
from parity.cases import Case, Weights
from parity.compare import Check, Rule, exact, of_std, relative
from parity.field_tools import close
from parity.scenedino_net_cases import CONFIG, SceneWeights, noise_image

# Official names of the terms -> ours.
TERMS = {
    "loss_rgb_coarse": "rgb",
    "loss_dino_coarse": "feature",
    "edge_aware_smoothness": "smoothness",
    "dino_edge_aware_smoothness": "feature_smoothness",
}
PUBLISHED = LossWeights(published_pairing=True)


def named_losses(prefix: str, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms and total under the names of a case."""
    told = {f"{prefix}.{name}": terms[ours] for name, ours in TERMS.items()}
    return told | {f"{prefix}.rec_loss": total_loss(terms, PUBLISHED)}


def losses(case: Case, weights: Weights) -> dict[str, Any]:
    given = {name: torch.from_numpy(values) for name, values in case.stored.items()}
    samples = RaySamples(given["weights"], given["invalid"], given["rgb"][..., None, :, :])
    patches = RenderedPatches(
        samples, given["rgb"], given["depth"], given["rgb"][..., :0, 0], given["rgb_gt"]
    )
    features = RenderedFeatures(
        given["dino_full"][..., 0, :],
        given["dino_down"][..., 0, :],
        given["dino_artifacts"],
        given["dino_gt"],
    )
    target, rendered = given["rgb_gt"][0], given["rgb"][0].permute(0, 3, 1, 2, 4)
    views = rendered.shape[1]
    guide = target[:, None].expand(-1, views, -1, -1, -1).flatten(0, 1).permute(0, 3, 1, 2)
    error = patch_error(given["rgb"], given["rgb_gt"])[0]
    return {
        **named_losses("result", loss_terms(patches, features, PUBLISHED)),
        "invalid_ray": INVALID_POLICIES["weight_guided"](samples),
        "l1ssim_map_batch0": error.movedim(-1, 1).flatten(0, 1),
        "edge_aware_map_batch0": edge_aware_smoothness(
            rendered.flatten(0, 1).permute(0, 3, 1, 2), guide
        ),
    }


def loss_rule(case: Case, name: str) -> Rule:
    if name == "invalid_ray":
        return exact
    return relative(case.numbers(r"^([\d.e-]+) relative", "tolerance")[0])


def training_views(case: Case) -> MultiView:
    """The case's eight views."""
    base, count = case.value("inputs.SEED") + 10, len(case.stored["poses"])
    images = torch.stack([noise_image(base + i) for i in range(count)])[None]
    K = torch.tensor(case.value("inputs.K")).expand(1, count, 3, 3)
    poses = torch.from_numpy(case.stored["poses"])[None]
    return MultiView(images, K, torch.linalg.inv(poses[:, :1]) @ poses)


def training_draws(case: Case) -> Draws:
    """The case's random choices."""
    cells = [torch.from_numpy(case.stored[f"patch_{n}"]).long()[None] for n in ("view", "y", "x")]
    dy, dx = case.value("inputs.loss_feature_grid_shift [rows, cols]")
    rays = cells[0].shape[1] * CONFIG.patch**2
    return Draws(
        Partition(case.value("inputs.ids_loss"), case.value("inputs.ids_render")),
        GridCells(*cells),
        (dy, dx),
        torch.full((1, rays, CONFIG.samples), float(case.value("inputs.jitter"))),
        case.value("inputs.horizontal flip of the encoder input"),
    )


def train_forward(case: Case, weights: Weights) -> dict[str, Any]:
    filled = SceneWeights(case)
    model, targets = filled.model(), filled.targets()
    model.encoder.requires_grad_(False)
    model.decoder.requires_grad_(False)
    with torch.enable_grad():
        step = train_step(model, targets, training_views(case), training_draws(case), PUBLISHED)
        step.total.backward()
    told = next(case.spec[key] for key in case.spec if key.startswith("grad_norms"))
    for rules, module in ((MODEL_RULES, model), (TARGET_RULES, targets)):
        kept = {k: v for k, v in told.items() if rules.drop_reason(k) is None}
        check_norms(module, {rules.rename(k): v for k, v in kept.items()}, 1e-3)
    shares = targets.downsampler.weights(step.features.pixels)[0]
    outputs = described(step) | {"weight_map": shares}
    return outputs | downsampled_image(case, targets.downsampler)


def check_norms(module: nn.Module, told: Mapping[str | None, float], rtol: float) -> None:
    """Every gradient norm that the case tells."""
    grads = {name: p.grad for name, p in module.named_parameters()}
    ours = {name: float(grads[name].norm()) for name in told}
    wrong = {n: v for n, v in ours.items() if not math.isclose(v, told[n], rel_tol=rtol)}
    assert told and not wrong, f"gradient norms differ: {wrong}, official {told}"


def described(step: StepResult) -> dict[str, Any]:
    """Arrays of the step under the names of the case."""
    patches, features = step.patches, step.features
    samples = patches.samples
    return {
        **named_losses("losses", step.terms),
        "rgb_gt": patches.target[0, :16],
        "rgb": patches.colours[0, :16],
        "depth": patches.distance_m[0],
        "weights_mean": samples.weights[0].mean(dim=(1, 2)),
        "invalid_mean": samples.outside[0].float().mean(dim=(1, 2, 3)),
        "dino_gt": features.target[0, :, ::8],
        "dino_artifacts": features.artifacts[0, :, ::8],
        "dino_rendered": features.pixels[0, :8, ::2, ::2, ::16],
        "dino_downsampled": features.pooled[0, :, ::8],
    }


def downsampled_image(case: Case, downsampler: SalienceDownsampler) -> dict[str, Tensor]:
    """The downsampler on a full map."""
    rng = np.random.Generator(np.random.PCG64(case.value("inputs.SEED") + 3))
    height, width = case.stored["ds_image_weight"].shape
    drawn = rng.standard_normal((height, width, CONFIG.feature_channels))
    maps = unit(torch.from_numpy(drawn.astype(np.float32)))
    shares = downsampler.weights(cut_patches(maps, CONFIG.patch))
    return {
        "ds_image_out": downsampler.image(maps)[..., ::8],
        "ds_image_salience": downsampler.salience(maps)[..., 0],
        "ds_image_weight": shares.transpose(1, 2).reshape(height, width),
    }


def semantic_head(case: Case) -> SemanticHead:
    """The filled head in train mode with all drop-outs off."""
    model = SceneWeights(case).semantics()
    model.code.dropout = 0.0
    return model.train()


def crops(rng: np.random.Generator, count: int, samples: int = 36) -> Tensor:
    """The case's way to draw crops."""
    centre = rng.standard_normal((count, 1, 768))
    noise = rng.standard_normal((count, samples, 768))
    return torch.from_numpy((centre + 0.7 * noise).astype(np.float32))


def semantic_step(case: Case, weights: Weights) -> dict[str, Any]:
    head = semantic_head(case)
    rng = np.random.Generator(np.random.PCG64(case.value("inputs.SEED")))
    buffer = CropBuffer(16, 36, 768)
    buffer.features = unit(crops(rng, 16))
    buffer.means = unit(buffer.features.mean(dim=1))
    buffer.count(14, 14)
    new = crops(rng, 5)
    dense = torch.from_numpy(rng.standard_normal((2, 1, 8, 16, 1, 768)).astype(np.float32))
    dense = dense[:, 0, :, :, 0]
    labels = kitti360_train_ids(rng.integers(0, 45, (2, 8, 16)))
    draws = PartnerDraws(*(torch.from_numpy(case.stored[f"{n}_draw"]) for n in ("knn", "random")))
    with torch.enable_grad():
        pairs = correlate_crops(head, buffer, new, draws, dropout=0.0)
        terms = distillation_terms(pairs)
        terms |= probing_terms(head, dense, torch.from_numpy(labels), dropout=0.0)
        total = torch.stack(list(terms.values())).sum()
        total.backward()
    prefix = "renderer.net.downstream_head."
    told = {
        (MODEL_RULES.rename(prefix + name) or "").removeprefix("semantics."): norm
        for name, norm in case.value("grad_norms").items()
    }
    check_norms(head, told, 1e-4)
    after = (buffer.next, buffer.filled)
    assert after == tuple(case.value("inputs.after").values()), after
    answers = head(dense)
    outputs: dict[str, Any] = {"target_train_ids": labels, "losses.total_loss": total}
    outputs |= {f"losses.{name}_loss": value for name, value in terms.items()}
    for ours, theirs in (("self", "self"), ("knn", "nn"), ("random", "random")):
        outputs[f"dino_{theirs}_corr"] = pairs[ours].features[:, ::6, ::6]
        outputs[f"stego_{theirs}_corr"] = pairs[ours].codes[:, ::6, ::6]
    for kind in ("direct", "stego"):
        outputs[f"pseudo_{kind}"] = getattr(answers, f"{kind}_clusters").argmax(-1)[:, None]
        outputs[f"pred_{kind}_linear"] = getattr(answers, f"{kind}_logits").argmax(-1)[:, None]
    outputs["buffer_gap_after"] = buffer.means[:, ::32]
    return outputs


def semantic_rule(case: Case, name: str) -> Rule:
    if name in case.stored and case.stored[name].dtype.kind in "iu":
        return exact
    return relative(case.numbers(r"^([\d.e-]+) relative", "tolerance")[0])


def forward_rule(case: Case, name: str) -> Rule:
    """Losses relative, arrays by a share of their standard deviation."""
    told = case.numbers(r"losses ([\d.e-]+)", "tolerance")[0]
    if name.startswith("losses."):
        return close(told)
    patterns = (r"arrays ([\d.e-]+)", r"ones ([\d.e-]+)")
    share, half = (case.numbers(pattern, "tolerance")[0] for pattern in patterns)
    return of_std(half if case.stored[name].dtype == np.float16 else share)


def _names(prefix: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}.{name}" for name in names)


SEMANTIC_LOSSES = (
    *("total_loss", "self_loss", "knn_loss", "random_loss", "direct_cluster_loss"),
    *("direct_linear_loss", "stego_cluster_loss", "stego_linear_loss"),
)
CASES: dict[str, Check] = {
    "losses": Check(
        losses,
        loss_rule,
        inputs=frozenset(
            {"rgb_gt", "rgb", "depth", "invalid", "weights"}
            | {"dino_gt", "dino_down", "dino_artifacts", "dino_full"}
        ),
        also=_names("result", ("rec_loss", *TERMS)),
    ),
    "train_forward": Check(
        train_forward,
        forward_rule,
        inputs=frozenset({"poses", "patch_view", "patch_y", "patch_x"}),
        also=_names("losses", ("rec_loss", *TERMS)),
        heavy=True,
    ),
    "semantic_step": Check(
        semantic_step,
        semantic_rule,
        inputs=frozenset({"segs_kitti_ids", "knn_draw", "random_draw"}),
        also=_names("losses", SEMANTIC_LOSSES),
    ),
}
