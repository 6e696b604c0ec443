"""Adapters of ViPOcc's losses on stored inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from occ_training.losses.photometric import (
    edge_aware_smoothness,
    patch_error,
    relative_inverse,
    ssim_error,
)
from occ_training.losses.rendering import (
    INVALID_POLICIES,
    RaySamples,
    best_view_error,
    depth_consistency,
)
from occ_training.losses.temporal import DepthView, temporal_alignment, warp
from occ_training.recipes.vipocc_step import LossWeights, total_loss
from parity.cases import Case, Weights
from parity.compare import Check, Rule, exact, relative
from parity.vipocc_net_cases import intrinsics

INPUTS = frozenset(
    [
        "rgb",
        "rgb_gt",
        "weights",
        "invalid",
        "rgb_samps",
        "pred_depth",
        "rendered_depth",
        "img_t",
        "img_r",
        "depth_t",
        "depth_r",
        "pose_t",
        "pose_r",
        "dist",
    ]
)
VARIANTS = {
    "weight_guided_v1": ("weight_guided", 1),
    "weight_guided_v2": ("weight_guided", 2),
    "weight_guided_v3": ("weight_guided", 3),
    "strict_v1": ("strict", 1),
    "weight_guided_diverse_v1": ("weight_guided_diverse", 1),
}
TERMS = ("loss_rgb_coarse", "loss_depth_recon", "loss_temp_align", "loss_invalid_ratio", "loss")


def losses(case: Case, weights: Weights) -> dict[str, Tensor]:
    given = {name: torch.from_numpy(case.stored[name]) for name in INPUTS}
    rays = RaySamples(given["weights"], given["invalid"].bool(), given["rgb_samps"])
    error = patch_error(given["rgb"], given["rgb_gt"])
    K = intrinsics(weights).expand(2, 3, 3)
    first = DepthView(given["img_t"], given["depth_t"], given["pose_t"])
    other = DepthView(given["img_r"], given["depth_r"], given["pose_r"])
    temporal = temporal_alignment(first, other, K)
    outputs: dict[str, Tensor] = {}
    for variant, (policy, version) in VARIANTS.items():
        invalid = INVALID_POLICIES[policy](rays)
        terms = {
            "rgb": best_view_error(error, invalid),
            "recon": depth_consistency(given["pred_depth"], given["rendered_depth"], version),
            "temporal": temporal,
        }
        told = (*terms.values(), invalid.float().mean(), total_loss(terms, LossWeights()))
        outputs |= {
            f"results.{variant}.{name}": value for name, value in zip(TERMS, told, strict=True)
        }
    small = [
        DepthView(view.image[..., :40, :64], view.depth_m[..., :40, :64], view.T_world_cam)
        for view in (first, other)
    ]
    seen = warp(first, other, K)
    invalid = INVALID_POLICIES["weight_guided"](rays)
    guide = given["rgb_gt"].flatten(0, 1).permute(0, 3, 1, 2)
    signal = relative_inverse(given["dist"]).flatten(0, 1)[:, None]
    smooth = edge_aware_smoothness(signal, guide).view_as(given["dist"])
    view0 = given["rgb"][..., 0, :].flatten(0, 1).permute(0, 3, 1, 2)
    return outputs | {
        "results.temporal_small_crop_40x64": temporal_alignment(*small, K),
        "results.valid_mask_sum": seen.valid.float().sum(),
        "results.eas_masked_mean": (smooth * ~invalid).mean(),
        "err_l1ssim": error,
        "ssim_err_view0": ssim_error(view0, guide),
        "invalid_ray": invalid,
        "eas": smooth,
        "warp_img": seen.image[..., ::3, ::3],
        "warp_depth": seen.depth_m[..., ::3, ::3],
        "computed_depth": seen.moved_depth_m[..., ::3, ::3],
        "valid_mask": seen.valid[..., ::3, ::3],
    }


def rule(case: Case, name: str) -> Rule:
    """The case's relative tolerance, of an array's largest value; masks exact."""
    if name in case.stored and case.stored[name].dtype.kind in "iub":
        return exact
    (rtol,) = case.numbers(r"rtol ([\d.e-]+)", "tolerance")
    return relative(rtol)


CASES: dict[str, Check] = {
    "losses": Check(
        losses,
        rule,
        inputs=INPUTS,
        also=(
            *(f"results.{variant}.{term}" for variant in VARIANTS for term in TERMS),
            "results.temporal_small_crop_40x64",
            "results.valid_mask_sum",
            "results.eas_masked_mean",
        ),
    )
}
