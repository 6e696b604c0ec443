"""Adapters of SceneDINO's grids, metrics and geometry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from occ_perception.eval.depth_metrics import depth_scores
from occ_perception.eval.segmentation_metrics import (
    SegmentationMetric,
    assign_clusters,
    feature_scores,
)
from occ_perception.eval.sscbench import (
    RANGES_M,
    SscBenchMetric,
    SscBenchResult,
    field_of_view,
    labels_of_field,
    labels_of_raw,
    voxel_centres_in_camera,
)
from occ_perception.geometry.fisheye import MeiCamera, pinhole_grid, resample, virtual_rotation
from occ_perception.geometry.rays import centre_grid, rays_through
from occ_perception.voxels.density import grow
from parity.cases import Array, Case, Weights
from parity.compare import Check, Reference, Rule, absolute, agreeing, exact, relative
from parity.field_tools import close, eye_pose
from parity.scenedino_net_cases import CONFIG, Scene
from parity.vipocc_net_cases import grid_points

BLOCK = (slice(10, 74), slice(96, 160), slice(None))


def grids(case: Case, weights: Weights) -> dict[str, Any]:
    scene = Scene(case)
    field, expansion, semantics = scene.model.field, scene.model.expansion, scene.model.semantics
    demo = case.value("inputs.demo grid")
    step = demo["resolution"]
    axes = [
        torch.linspace(low, high, int((high - low) / step) + 1)
        for low, high in (demo[axis] for axis in "xyz")
    ]
    points = grid_points(*axes)
    values = field.at(scene.view, points.view(1, -1, 3))
    features = expansion(values.latent)[0]
    centres = voxel_centres_in_camera()
    block = centres[BLOCK]
    voxels = field.at(scene.view, block.reshape(1, -1, 3))
    density = voxels.density.view(block.shape[:-1])
    latents = voxels.latent.view(*block.shape[:-1], -1)[::2, ::2]
    return {
        "sigma": values.density.view(points.shape[:-1]),
        "class_stego_kmeans": semantics.classes(features).view(points.shape[:-1]),
        "dino768_ch": features.view(*points.shape[:-1], -1)[::3, ::3, ::4, ::32],
        "vox_sigma": density[::2, ::2, ::2],
        "vox_sigma_grown": grow(density)[::2, ::2, ::2],
        "vox_class": semantics.classes(expansion(latents)),
        "vox_compare": np.packbits((block[::2, ::2, :, 2] > 1).numpy()),
        "fov_mask_packed": np.packbits(field_of_view(centres).numpy()),
        "voxel_centres_cam": centres[::37, ::41, ::7],
    }


def where(mask: Array, rule: Rule) -> Rule:
    """A rule on the elements of a mask."""

    def judged(ours: Array, reference: Reference) -> str | None:
        return rule(ours[mask], Reference(reference.name, reference.values[mask]))

    return judged


def grids_rule(case: Case, name: str) -> Rule:
    """Only points more than a metre ahead compare; a few voxels at the image border may flip."""
    ahead = np.unpackbits(case.stored["vox_compare"]).reshape(case.stored["vox_class"].shape) > 0
    (share,) = case.numbers(r">=([\d.]+) % equal", "tolerance")
    density = close(1e-2, 1e-4)  # stored in half precision
    rules = {
        "class_stego_kmeans": agreeing(share / 100),
        "vox_class": where(ahead, agreeing(share / 100)),
        "vox_sigma": where(ahead[:, :, ::2], density),
        "vox_sigma_grown": where(ahead[:, :, ::2], density),
        "vox_compare": exact,
        "fov_mask_packed": few_bits(case.numbers(r"up to (\d+) voxels", "tolerance")[0]),
        "voxel_centres_cam": absolute(1e-4),
        "dino768_ch": absolute(2e-3),
    }
    return rules.get(name, close(1e-2, 1e-5))


def few_bits(limit: float) -> Rule:
    """At most `limit` bits of packed masks differ."""

    def rule(ours: Array, reference: Reference) -> str | None:
        different = int(np.unpackbits(ours ^ reference.values).sum())
        return None if different <= limit else f"{different} bits differ"

    return rule


def metrics_2d(case: Case, weights: Weights) -> dict[str, Any]:
    stored = {name: torch.from_numpy(values) for name, values in case.stored.items()}
    metric = SegmentationMetric()
    for predicted, truth in zip(stored["cluster"], stored["target"], strict=True):
        metric.update(predicted, truth)
    assignment = assign_clusters(metric.confusion)
    free, fixed = metric.unsupervised(), metric.supervised()
    outputs: dict[str, Any] = {
        "confusion_sum": metric.confusion,
        "assignment": assignment,
        "iou_unsup": np.array(free.class_iou),
        "confusion_unsup": metric.matched(assignment),
        "iou_sup": np.array(fixed.class_iou),
        "result.assignment_objective": metric.confusion[assignment, torch.arange(19)].sum(),
    }
    for name, scores in (("unsup", free), ("sup(no assignment)", fixed)):
        outputs[f"result.{name}.miou"] = scores.miou
        outputs[f"result.{name}.weighted_miou"] = scores.weighted_miou
        outputs[f"result.{name}.acc"] = scores.accuracy
    depth = depth_scores(stored["depth_pred"][0, 0], stored["depth_gt"][0, 0])
    # This evaluation prints the roots of the two relative means.
    roots = {"abs_rel", "sq_rel"}
    for name in case.value("result.depth"):
        value = getattr(depth, name)
        outputs[f"result.depth.{name}"] = math.sqrt(value) if name in roots else value
    predicted, target = stored["dino_pred"][0, ..., 0, :], stored["dino_gt"][0]
    for suffix, view in (("", slice(None)), ("_0", 0), ("_1", 1)):
        scores = feature_scores(predicted[view], target[view])
        told = {"l1": scores.l1, "l2": scores.l2, "cos_sim": scores.cosine}
        outputs |= {f"result.dino.{name}{suffix}": value for name, value in told.items()}
    return outputs


def metrics_2d_rule(case: Case, name: str) -> Rule:
    if name in ("assignment", "confusion_unsup"):  # classes without truth are arbitrary
        return lambda _ours, _reference: None
    return relative(case.numbers(r"^([\d.e-]+)", "tolerance")[0])


RESULT_2D = (
    "assignment_objective",
    *(
        f"{k}.{n}"
        for k in ("unsup", "sup(no assignment)")
        for n in ("miou", "weighted_miou", "acc")
    ),
    *(f"depth.{n}" for n in ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")),
    *(f"dino.{n}{view}" for n in ("l1", "l2", "cos_sim") for view in ("", "_0", "_1")),
)


def sscbench_frames(case: Case) -> list[tuple[Array, Array, Array]]:
    """Raw ids, predicted train ids and densities of the case's two frames."""
    rng = np.random.Generator(np.random.PCG64(case.value("inputs.SEED")))
    table = np.zeros(256, dtype=np.int64)
    for raw, train in case.value("inputs.table raw SSCBench id -> train id").items():
        table[int(raw)] = train
    frames = []
    for _ in range(2):
        choices = [0] * 24 + list(range(1, 19)) + [255] * 4
        raw = rng.choice(choices, size=(32, 32, 8))
        raw[:, :, 5:][rng.uniform(size=(32, 32, 3)) < 0.6] = 0
        classes = rng.integers(0, 19, (32, 32, 8))
        good = rng.uniform(size=(32, 32, 8)) < 0.5
        classes = np.where(good & (raw > 0) & (raw < 255), table[raw], classes)
        dense, thin = rng.uniform(0, 1.2, (32, 32, 8)), rng.uniform(0, 0.35, (32, 32, 8))
        density = np.where(raw > 0, dense, thin).astype(np.float32)
        frames.append(
            tuple(a.repeat(8, 0).repeat(8, 1).repeat(4, 2) for a in (raw, classes, density))
        )
    return frames


def sscbench_metric(case: Case, weights: Weights) -> dict[str, Any]:
    metric = SscBenchMetric(field_of_view(voxel_centres_in_camera()))
    outputs: dict[str, Any] = {}
    for i, frame in enumerate(sscbench_frames(case)):
        raw, classes, density = (torch.from_numpy(a) for a in frame)
        truth = labels_of_raw(raw)
        metric.update(labels_of_field(density, classes), truth)
        added = (truth == 255).sum() - (raw == 255).sum()
        outputs[f"extra.additional_invalid_count_{i}"] = added
    for range_m in RANGES_M:
        outputs[f"confusion_{range_m}"] = metric.metrics[range_m].confusion
    outputs["row_permutation"] = metric.permutation()
    tables = {"direct": metric.direct(), "hungarian": metric.hungarian()}
    for told, results in tables.items():
        for range_m, result in results.items():
            _check_scores(case.spec["result"][f"{told}_{range_m}"], result)
    return outputs


def _check_scores(told: dict[str, Any], result: SscBenchResult) -> None:
    scores = result.completion
    ours = {
        "IoU": scores.iou,
        "precision": scores.precision,
        "recall": scores.recall,
        "mIoU": scores.miou,
        "weighted_mIoU": result.weighted_miou,
        "per_class": scores.class_iou[1:],
    }
    for name, value in ours.items():
        np.testing.assert_allclose(value, told[name], rtol=1e-6, err_msg=name)


def geometry(case: Case, weights: Weights) -> dict[str, Any]:
    told = case.value("inputs.fisheye calibration (already in [-1,1] units)")
    lens, pixels = told["distortion_parameters"], told["projection_parameters"]
    fisheye = MeiCamera(
        told["mirror_parameters"]["xi"],
        lens["k1"],
        lens["k2"],
        (pixels["gamma1"], pixels["gamma2"]),
        (pixels["u0"], pixels["v0"]),
    )
    K = torch.from_numpy(case.stored["K_normalised"])
    about_y, about_x = case.value("inputs.rotation")
    height, width = case.value("inputs.target size")
    R = virtual_rotation(about_x, about_y)
    grid = pinhole_grid(fisheye, R, K, (height, width))
    y, x = np.meshgrid(np.linspace(0, 1, 70), np.linspace(0, 1, 70), indexing="ij")
    image = np.stack([np.sin(9 * x + 6), np.cos(7 * y), x * y]).astype(np.float32)
    uv = centre_grid(6, 10)
    bounds = torch.tensor([CONFIG.near_m, CONFIG.far_m]).expand(6, 10, 2)
    return {
        "R_02": R,
        "R_03": virtual_rotation(about_x, -about_y),
        "sample_points": grid[::8, ::16],
        "resampled": resample(torch.from_numpy(image)[None], grid)[0, :, ::8, ::16],
        "rays_6x10": torch.cat([*rays_through(uv, K, eye_pose()), bounds], dim=-1),
        "xy_6x10": uv,
    }


def told_absolute(case: Case, name: str) -> Rule:
    return absolute(case.numbers(r"^([\d.e-]+)", "tolerance")[0])


CASES: dict[str, Check] = {
    "grids": Check(grids, grids_rule, heavy=True),
    "metrics_2d": Check(
        metrics_2d,
        metrics_2d_rule,
        inputs=frozenset({"target", "cluster", "depth_gt", "depth_pred", "dino_gt", "dino_pred"}),
        also=tuple(f"result.{name}" for name in RESULT_2D),
    ),
    "sscbench_metric": Check(
        sscbench_metric,
        lambda _case, _name: exact,
        also=tuple(f"extra.additional_invalid_count_{i}" for i in range(2)),
    ),
    "geometry": Check(geometry, told_absolute, inputs=frozenset({"K_normalised"})),
}
