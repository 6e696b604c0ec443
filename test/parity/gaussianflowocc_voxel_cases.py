"""Adapters of GaussianFlowOcc's outputs: voxels, pictures, and how they are scored."""

from __future__ import annotations

import json
import re

import numpy as np
import torch
from torch import Tensor

from occ_perception.eval.occ3d import GAUSSIANFLOWOCC_PROTOCOL, Occ3DMetric
from occ_perception.eval.rayiou import RayIoU, cast_rays, ray_directions, ray_origins
from occ_perception.rendering.splat_torch import (
    SplatCameras,
    Splats,
    draw_splats,
    project_gaussians,
    tight_extents,
)
from occ_perception.voxels.gaussians import (
    Gaussians,
    VoxelLabels,
    gaussians_to_volume,
    label_voxels,
)
from parity.cases import Array, Case, Weights
from parity.compare import Check, Outputs, Rule, absolute, agreeing, exact
from parity.field_tools import close
from parity.surround_tools import (
    GRID,
    inputs_module,
    mostly,
    norm_distance,
    pose,
    stats,
    told_input,
    told_slices,
)

ROOF = 11
THRESHOLD = 0.05


def final_labels(voxels: VoxelLabels) -> Tensor:
    """Classes with free voxels set to 17."""
    return torch.where(voxels.free(THRESHOLD), 17, voxels.classes)


def label_histogram(voxels: VoxelLabels) -> Tensor:
    return torch.bincount(final_labels(voxels).flatten(), minlength=18)


def voxelize(case: Case, weights: Weights) -> Outputs:
    """Every neighbourhood that the case stores."""
    made = told_input(case, "gaussians")
    names = ("means", "scale", "quats", "opacity", "logits")
    gaussians = Gaussians(*(torch.from_numpy(made[name]) for name in names))
    outputs: dict[str, Tensor] = {"means_head": gaussians.means[:4]}
    for reach in sorted({int(n) for n in re.findall(r"nbh(\d+)\.", " ".join(case.stored))}):
        volume = gaussians_to_volume(gaussians, GRID, reach)
        voxels = label_voxels(volume, ROOF)
        outputs |= {
            f"nbh{reach}.density.stats": stats(volume.density),
            f"nbh{reach}.logits.stats": stats(volume.logits),
            f"nbh{reach}.touched": (volume.density > 0).sum(),
            f"nbh{reach}.label_hist": label_histogram(voxels),
        }
        tensors = {
            "density_center": volume.density,
            "logits_center": volume.logits,
            "labels_center": final_labels(voxels),
        }
        for name, tensor in tensors.items():
            told = case.value(f"arrays.{name}")
            if f"nbh {reach}," in told:
                outputs[name] = tensor[told_slices(told)]
        row = re.search(rf"nbh {reach}, x index (\d+)", case.value("arrays.density_row"))
        if row:
            outputs["density_row"] = volume.density[int(row.group(1))]
    return outputs


def voxelize_rule(case: Case, name: str) -> Rule:
    """Half precision for stored parts, a thousandth for counts."""
    if case.stored[name].dtype == np.float16:
        atol, rtol = case.numbers(r"float16 arrays abs ([\d.e-]+ \+ rel [\d.e-]+)", "tolerance")
        return close(rtol, atol)
    if name.endswith(("touched", "label_hist")):
        (percent,) = case.numbers(r"histograms to ([\d.]+) %", "tolerance")
        return close(percent / 100)
    return exact if name == "labels_center" else close(1e-4, 1e-6)


def raster(case: Case, weights: Weights) -> Outputs:
    """Pictures with both rules of extent, projection, and gradients."""
    made = {k: torch.from_numpy(v) for k, v in told_input(case, "raster_case").items()}
    width, height = case.integers(r"(\d+x\d+) pixels")
    cameras = SplatCameras(made["viewmats"], made["Ks"], width, height)
    names = ("means", "scales", "quats", "opacities", "features")
    inputs = [made[name].requires_grad_() for name in names]
    with torch.enable_grad():
        splats = project_gaussians(*inputs[:4], cameras)
        images = draw_splats(splats, *inputs[3:], width, height)
        gradients = torch.autograd.grad((images.values * made["cot"]).sum(), inputs)
    tight = project_gaussians(*inputs[:4], cameras, tight_extents)
    newer = draw_splats(tight, *inputs[3:], width, height)
    cut, coarse = (told_slices(case.value(f"arrays.{n}")) for n in ("render_sub", "render_sub_153"))
    grad = dict(zip(names, gradients, strict=True))
    return {
        **_projection(case, splats),
        "render_sub": images.values[cut[:3]],
        "alpha_sub": images.alphas[cut[:3]],
        "render.stats": torch.stack([stats(c) for c in images.values.unbind(-1)]),
        "render_sub_153": newer.values[coarse],
        "n_projected": splats.drawn.sum(dim=1),
        **{f"grad_{name}": grad[name] for name in ("means", "quats", "scales")},
        "grad_op": grad["opacities"],
        "grad_feat": grad["features"][::3],
    }


def _projection(case: Case, splats: Splats) -> Outputs:
    """The head of the projection; what is culled there is undefined and taken from the case."""
    head = case.stored["radii_head"].shape[1]
    seen = torch.from_numpy(case.stored["radii_head"] > 0)
    ours = {"means2d": splats.centres, "conics": splats.conics, "depth": splats.depths}
    outputs: dict[str, Tensor] = {"radii_head": splats.extents[:, :head, 0].int()}
    for name, tensor in ours.items():
        stored = torch.from_numpy(case.stored[f"{name}_head"])
        mask = seen if stored.ndim == 2 else seen[..., None]
        outputs[f"{name}_head"] = torch.where(mask, tensor[:, :head], stored)
    return outputs


def raster_rule(case: Case, name: str) -> Rule:
    """Pictures to float16, gradients to a share of their norm."""
    if name.startswith("grad_"):
        (percent,) = case.numbers(r"rel ([\d.]+) %", "tolerance.grad")
        return norm_distance(percent / 100)
    if name in ("n_projected", "radii_head"):
        return exact
    if name.endswith("_head"):
        return absolute(1e-3)
    atol, percent = case.numbers(r"abs ([\d.e-]+ on [\d.]+) %", "tolerance.render_sub, alpha_sub")
    return mostly(percent / 100, atol)


def metrics(case: Case, weights: Weights) -> Outputs:
    """Confusion matrices over the case's samples."""
    (mask_seed,) = case.integers(r"camera_mask\((\d+)\+k\)")
    (scene_seed,) = case.integers(r"scene\((\d+)\+k\)")
    samples = case.integers(r"samples k=([\d,]+)")
    make = inputs_module(case)
    metric = Occ3DMetric(GAUSSIANFLOWOCC_PROTOCOL)
    for k in samples:
        truth, answer = (torch.from_numpy(a) for a in make.scene(scene_seed + k))
        metric.update(answer, truth, torch.from_numpy(make.camera_mask(mask_seed + k)))
    result = metric.result()
    return {
        "per_class_iou": np.array(result.class_iou),
        "mIoU": np.array(round(result.miou, 2)),
        "IoU_occupied_free": np.array([result.iou, result.iou_free]).round(2),
        "hist18": metric.confusion.double(),
        # rows and columns in the case's order: occupied, free
        "hist2": metric.occupancy.double(),
    }


def rayiou(case: Case, weights: Weights) -> Outputs:
    """Origins, directions, single casts and the table."""
    infos = json.loads(str(case.stored["infos_json"]))
    origins = [_origins(infos, info) for info in infos]
    directions = ray_directions()
    metric, valid = RayIoU(GRID), []
    seeds = case.integers(r"seeds \[([\d, ]+)\]")
    scenes = [inputs_module(case).scene(seed) for seed in seeds]
    for (truth, answer), use in zip(scenes, case.stored["sample_use"], strict=True):
        before = metric.rays
        metric.update(torch.from_numpy(answer), torch.from_numpy(truth), origins[use])
        valid.append(metric.rays - before)
    first = origins[case.stored["sample_use"][0]][:1]
    truth, answer = (
        cast_rays(torch.from_numpy(labels), first, directions, GRID) for labels in scenes[0]
    )
    result = metric.result()
    return {
        "origin_counts": np.array([len(o) for o in origins]),
        "origins": torch.cat(origins),
        "ray_dirs": directions[::97],
        "gt0_label": truth.labels,
        "gt0_dist": truth.distances_m[::3],
        "pred0_label": answer.labels[::3],
        "pred0_dist": answer.distances_m[::6],
        "n_valid_rays": np.array(valid),
        "per_class_iou": result.class_iou,
        "RayIoU": np.array([result.mean, *result.at]),
    }


def _origins(infos: list[dict], info: dict) -> Tensor:
    scene = [other for other in infos if other["scene_name"] == info["scene_name"]]
    lidars = [pose(other, "ego2global") @ pose(other, "lidar2ego") for other in scene]
    return ray_origins(lidars, pose(info, "ego2global"), pose(info, "lidar2ego"))


def rayiou_rule(case: Case, name: str) -> Rule:
    """Labels nearly all equal, distances and ratios close."""
    stored: Array = case.stored[name]
    if name.endswith("_label"):
        (percent,) = case.numbers(r"labels equal on ([\d.]+) %", "tolerance")
        return agreeing(percent / 100)
    if stored.dtype.kind in "iu":
        return exact
    return absolute(case.numbers(r"distances abs ([\d.e-]+)", "tolerance")[0])


CASES = {
    "voxelize": Check(voxelize, voxelize_rule),
    "raster": Check(raster, raster_rule),
    "metrics": Check(metrics, lambda case, name: exact),
    "rayiou": Check(rayiou, rayiou_rule, inputs=frozenset({"infos_json", "sample_use"})),
}
