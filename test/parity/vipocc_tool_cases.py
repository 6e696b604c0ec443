"""Adapters of ViPOcc's sampler, pictures and voxel evaluation."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from occ_perception.eval.lidar_occupancy import occupancy_scores
from occ_perception.eval.voxel_occupancy import (
    binary_counts,
    inside_boxes,
    invalidate_underground,
    occupied_voxels,
    visible_voxels,
)
from occ_perception.systems.vipocc.ray_opacity import lookup_opacity, pixel_samples
from occ_perception.viz.field_pictures import (
    cell_mesh,
    disparity_levels,
    disparity_picture,
    height_colours,
)
from occ_training.data.snog import Detection, SnogSampler
from parity.cases import Case, Weights
from parity.compare import Check, Rule, absolute, agreeing_bits, exact
from parity.field_tools import close
from parity.vipocc_net_cases import CONFIG, grid_points, intrinsics, pseudo_depth

PATCH = 8


def snog(case: Case, weights: Weights) -> dict[str, Any]:
    found = [
        Detection(d["label"], tuple(d["box"]), d["pixel_num"]) for d in case.value("detections")
    ]
    height, width = case.value("img_size")
    gaussians, shares = SnogSampler.mixture(found)
    v, u = np.mgrid[0:height:8, 0:width:16]
    outputs: dict[str, Any] = {"prob": shares}
    for i, gaussian in enumerate(gaussians):
        outputs[f"pdf{i}"] = gaussian.pdf(np.stack([u, v], axis=-1))
        outputs[f"cov{i}"] = gaussian.covariance
    sampler = SnogSampler((height, width), PATCH, np.random.default_rng(0))
    draws = [sampler.centres(found, 64) for _ in range(200)]
    gaps = [np.linalg.norm(d[:, None] - d, axis=-1) + 1e9 * np.eye(len(d)) for d in draws]
    assert min(gap.min() for gap in gaps) >= case.value("results.min_pair_distance") - 1e-9
    centres = np.concatenate(draws)
    for axis, name in enumerate(("x_range", "y_range")):
        low, high = case.value(f"results.{name}")
        assert (centres[:, axis] >= low).all() and (centres[:, axis] <= high).all()
    boxes = np.array([d.box for d in found if d.label in ("car", "person")])
    inside = (centres[:, None] >= boxes[:, :2]) & (centres[:, None] <= boxes[:, 2:])
    outputs["results.share_inside_any_box"] = inside.all(axis=-1).any(axis=-1).mean()
    return outputs


def snog_rule(case: Case, name: str) -> Rule:
    if name == "results.share_inside_any_box":
        return absolute(0.03)
    return absolute(case.numbers(r"pdf ([\d.e-]+)", "tolerance")[0])


def viz(case: Case, weights: Weights) -> dict[str, Any]:
    axes = ((-1, 1, 4), (-0.5, 1, 3), (8, 3, 5))
    points = grid_points(*(torch.linspace(*axis) for axis in axes))
    points[..., 1] -= 0.0874886635 * points[..., 2]
    palette = height_colours(25)
    mesh = cell_mesh(points.numpy(), case.stored["occ"], palette)
    depth = pseudo_depth(3400)[0].numpy()
    return {
        "points": points,
        "verts": mesh.vertices,
        "faces": mesh.faces,
        "colors": mesh.colours,
        "y_colors": palette,
        "disp_u8": disparity_levels(depth)[::8, ::8],
        "magma_bgr": disparity_picture(depth)[::8, ::8, ::-1],
    }


def viz_rule(case: Case, name: str) -> Rule:
    if name in ("colors", "y_colors", "disp_u8", "magma_bgr"):
        return absolute(1)
    return exact if name == "faces" else absolute(1e-6)


def packed(case: Case, name: str) -> torch.Tensor:
    shape = case.stored["voxel"].shape
    bits = np.unpackbits(case.stored[name])[: np.prod(shape)]
    return torch.from_numpy(bits.reshape(shape)).bool()


def boxes(case: Case) -> torch.Tensor:
    """The two boxes that the case's text describes."""
    told = case.value("note").split("bbox:")[1]
    numbers = torch.tensor([float(n) for n in re.findall(r"-?\d*\.?\d+", told)])
    centres, sizes = numbers[:6].view(2, 3), numbers[6:12].view(2, 3)
    rotations = torch.stack([numbers[12:21].view(3, 3), torch.eye(3)])
    points = torch.from_numpy(case.stored["bbox_pts"])
    return inside_boxes(points, centres, sizes, rotations)


def eval_voxel(case: Case, weights: Weights) -> dict[str, Any]:
    K = intrinsics(weights)
    stored = {name: torch.from_numpy(values) for name, values in case.stored.items()}
    near, far = CONFIG.near_m, CONFIG.far_m
    rows, columns, samples = case.stored["alpha"].shape
    points, distances = pixel_samples(K, (rows, columns), samples, near, far)
    cleaned = invalidate_underground(stored["voxel"])
    occupied = occupied_voxels(cleaned)
    size = case.integers(r"image (\d+x\d+)", "note")
    visible = visible_voxels(
        occupied, stored["vis_K"], (size[0], size[1]), stored["vis_T_cam_to_voxel"]
    )
    valid = packed(case, "valid") & (cleaned != 255)
    predicted = packed(case, "pred")
    counts = binary_counts(predicted, occupied, valid)
    scores = occupancy_scores(predicted, occupied, visible, valid)
    return {
        "cleaned": cleaned,
        "infer_pts": points[::3, ::8, ::3],
        "infer_z": distances,
        "occ": lookup_opacity(stored["alpha"], stored["xyz"], K, near, far),
        "visible": np.packbits(visible.numpy()),
        "bbox_mask": boxes(case),
        "results.scores": torch.tensor(scores),
        "results.tp": torch.tensor(counts.tp),
        "results.fp": torch.tensor(counts.fp),
        "results.fn": torch.tensor(counts.fn),
        "results.iou": torch.tensor(counts.iou),
        "results.visible_share": visible.float().mean(),
    }


def eval_voxel_rule(case: Case, name: str) -> Rule:
    if name == "visible":
        return agreeing_bits(1 - case.numbers(r"<([\d.]+) %", "tolerance")[0] / 100)
    if name in case.stored and case.stored[name].dtype.kind in "iub":
        return exact
    return close(0, case.numbers(r"floats ([\d.e-]+)", "tolerance")[0])


RESULTS = ("scores", "tp", "fp", "fn", "iou", "visible_share")
CASES: dict[str, Check] = {
    "snog": Check(
        snog,
        snog_rule,
        inputs=frozenset({"example_samples"}),
        also=("results.share_inside_any_box",),
    ),
    "viz": Check(viz, viz_rule, inputs=frozenset({"occ"})),
    "eval_voxel": Check(
        eval_voxel,
        eval_voxel_rule,
        inputs=frozenset(
            {"voxel", "alpha", "xyz", "vis_K", "vis_T_cam_to_voxel", "pred", "valid", "bbox_pts"}
        ),
        also=tuple(f"results.{name}" for name in RESULTS),
    ),
}
