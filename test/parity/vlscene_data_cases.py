"""Adapters of VLScene's data side: pre-processing, losses, metrics and training targets."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from occ_perception.core.camera import Camera
from occ_perception.core.types import CameraFrame
from occ_perception.eval.metrics import CompletionMetric, class_iou
from occ_perception.systems.vlscene.preprocess import choose_fit, prepare_view
from occ_perception.systems.vlscene.stereo_pair import stereo_tensors
from occ_training.data.lidar_targets import SeenPoints, depth_image, point_targets, see_points
from occ_training.data.semantickitti_labels import (
    CLASS_VOXELS,
    coarser_labels,
    point_table,
    unpack_bits,
    voxel_labels,
    voxel_table,
)
from occ_training.losses.ssc import (
    frequency_weights,
    geometric_affinity_loss,
    point_cross_entropy,
    point_lovasz,
    semantic_affinity_loss,
    voxel_cross_entropy,
)
from parity.cases import Array, Case, Reference, Weights, normal
from parity.compare import Check, Outputs, Rule, absolute, exact, relative


def kitti_camera(calibration: dict[str, object], matrix: str) -> Camera:
    """The camera of a KITTI calibration, in the LiDAR's frame.

    Args:
        calibration: "W", "H", "P2", "P3" and "Tr" as in the case's JSON.
        matrix: "P2" (left) or "P3" (right).
    """
    T_cam_lidar = np.vstack([np.array(calibration["Tr"], dtype=np.float64), [0, 0, 0, 1]])
    return Camera(
        name=matrix,
        P=np.array(calibration[matrix], dtype=np.float64),
        width=int(calibration["W"]),
        height=int(calibration["H"]),
        T_base_cam=np.linalg.inv(T_cam_lidar),
    )


def preprocess(case: Case, weights: Weights) -> Outputs:
    """Both images of a pair and the calibration tensors."""
    calibration = case.spec["calibration"]
    views = [
        _view(case, kitti_camera(calibration, matrix), offset)
        for offset, matrix in enumerate(("P2", "P3"))
    ]
    geometry = stereo_tensors(*views)
    left, right = (view.image[None] for view in views)
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = geometry.rots[0, 0], geometry.trans[0, 0]
    return {
        "left_img": left,
        "left_rot": geometry.rots[0],
        "left_tran": geometry.trans[0],
        "left_intrin": geometry.intrins_left[0],
        "left_post_rot": geometry.post_rots[0],
        "left_post_tran": geometry.post_trans[0],
        "left_depth": torch.zeros(1, 1),  # the official loader's stand-in when nothing is trained
        "left_cam2lidar": pose[None],
        "left_calib": geometry.calib[0],
        "left_img_last_columns": left[0, :, ::16, -4:],
        "right_img": right,
        "right_intrin": geometry.intrins_right[0],
    }


def _view(case: Case, camera: Camera, seed_offset: int):
    bgr = _raw_image(case, camera.height, camera.width, seed_offset)
    frame = CameraFrame(np.ascontiguousarray(bgr[..., ::-1]), camera, stamp_ns=0)
    return prepare_view(frame, choose_fit(camera, "published"))


def _raw_image(case: Case, height: int, width: int, seed_offset: int) -> Array:
    rng = case.rng(seed_offset)
    low, high, *cells = case.integers(r"a=g.integers\(([\d,()]+)\)")
    noise_low, noise_high = case.integers(r"n=g.integers\((-?\d+,\d+),")
    (cell,) = case.integers(r"repeated to (\d+)x")
    blocks = rng.integers(low, high, cells).repeat(cell, axis=0).repeat(cell, axis=1)
    noise = rng.integers(noise_low, noise_high, (height, width, 3))
    return np.clip(blocks[:height, :width] + noise, 0, 255).astype(np.uint8)


def preprocess_rule(case: Case, name: str) -> Rule:
    """Grey levels for images, float32 rounding for matrices."""
    pattern = r"image: max\|diff\| <= ([\d.e-]+)" if "img" in name else r"matrices ([\d.e-]+)"
    (limit,) = case.numbers(pattern, "tolerance")
    return absolute(limit)


def metric_ssc(case: Case, weights: Weights) -> Outputs:
    """Counts and ratios over three batches."""
    rng = case.rng()
    (batches,) = case.integers(r"(\d+) batches")
    classes, *size = case.integers(r"pred = rng.choice\(([\d,()]+),p=")
    empty_share, spread, others, _ = case.numbers(r"p=\[([^\]]*)\]")
    agreeing, ignored = (
        case.numbers(rf"rng.uniform\(size\)<([\d.]+),{word}")[0] for word in (" pred", " ?255")
    )
    shares = [empty_share] + [spread / others] * int(others)
    metric = CompletionMetric(classes)
    predictions, targets = [], []
    for _ in range(batches):
        prediction = rng.choice(classes, size, p=shares)
        truth = np.where(
            rng.uniform(size=size) < agreeing, prediction, rng.integers(0, classes, size)
        )
        truth = np.where(rng.uniform(size=size) < ignored, 255, truth)
        metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
        predictions.append(prediction)
        targets.append(truth)
    hits, false_alarms, misses = metric.class_counts()
    # The official metric overwrites ignored voxels with "empty" on both sides and then counts
    # them as hits of the empty class; no other number is touched by it.
    official_hits = hits.clone()
    official_hits[0] += metric.ignored
    result = metric.result()
    tp, fp, fn = metric.completion_counts()
    return {
        "pred": np.stack(predictions),
        "target": np.stack(targets),
        "tps": official_hits.float(),
        "fps": false_alarms.float(),
        "fns": misses.float(),
        "completion.tp": np.array(tp),
        "completion.fp": np.array(fp),
        "completion.fn": np.array(fn),
        "values.precision": np.array([result.precision]),
        "values.recall": np.array([result.recall]),
        "values.iou": np.array(result.iou),
        "values.iou_ssc": class_iou(official_hits, false_alarms, misses),
        "values.iou_ssc_mean": np.array(result.miou),
    }


_METRIC_VALUES = tuple(
    f"values.{n}" for n in ("precision", "recall", "iou", "iou_ssc", "iou_ssc_mean")
)
_METRIC_COUNTS = tuple(f"completion.{n}" for n in ("tp", "fp", "fn"))


def metric_rule(case: Case, name: str) -> Rule:
    """Counts are equal, ratios close."""
    return (
        absolute(case.numbers(r"ratios ([\d.e-]+)", "tolerance")[0]) if "values" in name else exact
    )


def loss_head(case: Case, weights: Weights) -> Outputs:
    """Losses on voxels and points with their gradients."""
    rng = case.rng()
    (scale,) = case.numbers(r"logits = ([\d.]+)\*standard_normal")
    logits = scale * normal(rng, case.integers(r"\*standard_normal \(([\d,]+)\)"))
    empty, others, count, _, ignored = case.numbers(r"p=\[([^\]]*)\]")
    shares = [empty] + [others / count] * int(count) + [ignored]
    ids = [*range(int(count) + 1), 255]
    size = case.integers(r"size=\(([\d,]+)\)")
    target = torch.from_numpy(rng.choice(ids, size=size, p=shares))
    point_logits = normal(rng, case.integers(r"point_logits = standard_normal \(([\d,]+)\)"))
    low, high, points = case.integers(r"point_labels = rng.integers\(([\d,]+)\)")
    labels = torch.from_numpy(rng.integers(low, high, points))
    class_weights = frequency_weights(CLASS_VOXELS)
    with torch.enable_grad():
        logits.requires_grad_()
        point_logits.requires_grad_()
        losses = {
            "values.loss_voxel_ce_0": voxel_cross_entropy(logits, target, class_weights),
            "values.loss_voxel_sem_scal_0": semantic_affinity_loss(logits, target),
            "values.loss_voxel_geo_scal_0": geometric_affinity_loss(logits, target),
            "values.loss_point_ce_": point_cross_entropy(point_logits, labels),
            "values.loss_point_lovasz_": point_lovasz(point_logits, labels),
        }
        gradients = torch.autograd.grad(sum(losses.values()), [logits, point_logits])
    metric = CompletionMetric(logits.shape[1])
    metric.update(logits.argmax(dim=1), target)
    return {
        "target": target.to(torch.uint8),
        "class_weights": class_weights,
        **losses,
        "values.sc_iou_0": np.array(metric.result().iou),
        "values.ssc_miou_0": np.array(metric.result().miou),
        "grad_logits": gradients[0],
        "grad_points": gradients[1],
    }


_LOSS_VALUES = tuple(
    f"values.{name}"
    for name in (
        "loss_voxel_ce_0",
        "loss_voxel_sem_scal_0",
        "loss_voxel_geo_scal_0",
        "sc_iou_0",
        "ssc_miou_0",
        "loss_point_ce_",
        "loss_point_lovasz_",
    )
)


def relative_rule(case: Case, name: str) -> Rule:
    """`relative 1e-4` as the case says it."""
    return relative(case.numbers(r"relative ([\d.e-]+)", "tolerance")[0])


def lidar_targets(case: Case, weights: Weights) -> Outputs:
    """Depth images of both views and the labelled points of the right one."""
    rng = case.rng()
    size = case.integers(r"size=\((\d+,\d+)\)")
    scale, shift = case.numbers(r"\*(\[[^\]]*\])"), case.numbers(r"\+(\[[^\]]*\])")
    scan = torch.from_numpy((rng.uniform(size=size) * scale + shift).astype(np.float32))
    ids = np.array(case.spec["raw_ids"])
    raw = ids[rng.integers(*case.integers(r"ids\[g.integers\(([\d,]+)\)"))].astype(np.uint32)
    raw |= rng.integers(*case.integers(r"\(g.integers\(([\d,]+)\)<<")).astype(np.uint32) << 16
    labels = torch.from_numpy(point_table()[raw & 0xFFFF])
    points = scan[:, :3]
    # Inverted in float32 as officially: it decides the pixel of points on a rounding boundary.
    T_cam_lidar = torch.tensor([*case.spec["calibration"]["Tr"], [0, 0, 0, 1]])
    T_lidar_cam = T_cam_lidar.float().inverse()
    seen, images = {}, {}
    for side, matrix in (("left", "P2"), ("right", "P3")):
        camera = kitti_camera(case.spec["calibration"], matrix)
        fit = choose_fit(camera, "published")
        P, transform = (torch.from_numpy(m).float() for m in (camera.P, fit.image_transform))
        seen[side] = see_points(points, T_lidar_cam, P, transform, fit.size)
        images[side] = depth_image(seen[side], fit.size)
    targets = point_targets(points, labels, seen["right"], fit.size)
    pixels = {side: image.nonzero() for side, image in images.items()}
    return {
        "depth_left_pixels": pixels["left"].to(torch.int16),
        "depth_left_values": images["left"][tuple(pixels["left"].T)],
        "depth_right_pixels": pixels["right"].to(torch.int16),
        "depth_right_values": images["right"][tuple(pixels["right"].T)],
        "points_occ": targets.points,
        "points_uv": targets.uvd[:, None],
        "img_seg_hist": _label_histogram(seen["right"], labels, images["right"]),
    }


def _label_histogram(seen: SeenPoints, labels: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Classes of the points that own their pixel; all other pixels are class 0."""
    column, row = seen.uv.round().long().unbind(dim=1)
    owners = labels[seen.index][depth[row, column] == seen.depth].long()
    histogram = torch.bincount(owners, minlength=20)
    histogram[0] += depth.numel() - len(owners)
    return histogram


def lidar_rule(case: Case, name: str) -> Rule:
    """Equal pixels; image positions to a thousandth of a pixel."""
    if case.stored[name].dtype.kind in "iu":
        return exact
    (limit,) = case.numbers(r"uv ([\d.e-]+) px", "tolerance")
    if name != "points_uv":
        return absolute(limit)
    in_pixels = np.array([1280 / 2, 384 / 2, 1])

    def rule(ours: Array, reference: Reference) -> str | None:
        scaled = Reference(name, reference.values.astype(np.float64) * in_pixels)
        return absolute(limit)(ours.astype(np.float64) * in_pixels, scaled)

    return rule


def voxel_labels_case(case: Case, weights: Weights) -> Outputs:
    """Label files of a made-up scene: remapped, masked, and at all scales."""
    rng = case.rng()
    ids = np.array(case.spec["raw_ids"])
    low, high, *blocks = case.integers(r"blk=ids\[g.integers\(([\d,()]+)\)")
    (hollow,) = case.numbers(r"blk\[g.uniform\(size\)<([\d.]+)\]")
    (repeat,) = case.integers(r"raw=each cell repeated (\d+)x")
    (noisy,) = case.numbers(r"where\(f<([\d.]+)")
    invalid_blocks, invalid_voxels = (
        case.numbers(pattern)[0]
        for pattern in (r"inv=g.uniform\(size=\([\d,]+\)\)<([\d.]+)", r"inv.shape\)<([\d.]+)")
    )

    def enlarge(cells: Array) -> Array:
        return cells.repeat(repeat, 0).repeat(repeat, 1).repeat(repeat, 2)

    cells = ids[rng.integers(low, high, blocks)]
    cells[rng.uniform(size=blocks) < hollow] = 0
    raw = enlarge(cells)
    noise = rng.uniform(size=raw.shape)
    raw = np.where(noise < noisy, ids[rng.integers(low, high, raw.shape)], raw).astype(np.uint16)
    invalid = enlarge(rng.uniform(size=blocks) < invalid_blocks)
    invalid[rng.uniform(size=raw.shape) < invalid_voxels] = True
    packed = np.packbits(invalid)
    fine = voxel_labels(raw, unpack_bits(packed))
    scales = {1: fine} | {f: coarser_labels(fine, f) for f in (2, 4, 8)}
    return {
        "lut": voxel_table()[: len(case.stored["lut"])].astype(np.int32),
        "packed_invalid_head": packed[: len(case.stored["packed_invalid_head"])],
        **{f"label_1_{f}": labels for f, labels in scales.items()},
        **{f"hist.1_{f}": _histogram(labels) for f, labels in scales.items()},
        **{f"sha256.1_{f}": _digest(labels) for f, labels in scales.items()},
    }


def _histogram(labels: Array) -> Array:
    counts = np.bincount(labels.ravel(), minlength=256)
    return np.append(counts[:20], counts[255])


def _digest(labels: Array) -> Array:
    return np.array(hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest())


_SCALES = tuple(f"{kind}.1_{factor}" for kind in ("hist", "sha256") for factor in (1, 2, 4, 8))

CASES = {
    "preprocess_*": Check(preprocess, preprocess_rule),
    "metric_ssc": Check(metric_ssc, metric_rule, also=_METRIC_COUNTS + _METRIC_VALUES),
    "loss_head": Check(loss_head, relative_rule, also=("class_weights", *_LOSS_VALUES)),
    "lidar_targets": Check(lidar_targets, lidar_rule),
    "voxel_labels": Check(voxel_labels_case, lambda case, name: exact, also=_SCALES),
}
