"""Adapters of LangOcc's inputs, targets, losses, rendering and metrics."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from occ_perception.blocks.surround_input import apply_fit, draw_fit, fit_image, normalise
from occ_perception.eval.occ3d import LANGOCC_PROTOCOL, Occ3DMetric
from occ_perception.eval.retrieval import average_precision, score_points
from occ_perception.geometry.rays import Rays
from occ_perception.geometry.transforms import transform
from occ_perception.rendering.feature_rays import (
    RaySampling,
    coarse_intervals,
    render_features,
)
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.vocabulary import load_vocabulary
from occ_training.data.language_rays import RayPixels, cast_pixels, draw_pixels
from occ_training.losses.language import (
    cosine_guided_mse,
    cosine_loss,
    sparsity,
    squared_loss,
    total_variation,
)
from occ_training.losses.reducer import (
    cosine_separation,
    margin_separation,
    similarities,
    squared_separation,
)
from occ_training.recipes.clip_reducer import train_reducer
from parity.cases import Array, Case, Weights
from parity.compare import Check, Outputs, Rule, absolute, exact
from parity.field_tools import close
from parity.fill import fill_tensor
from parity.surround_tools import GRID, mostly, norm_distance

CONFIG = LangOccConfig()
SOURCE = (1600, 900)


def stored_tensors(case: Case, *names: str) -> list[Tensor]:
    """Arrays of the case as tensors."""
    return [torch.from_numpy(case.stored[name]) for name in names]


def told_rng(case: Case, path: str = "inputs") -> np.random.Generator:
    """The generator that a text of the case tells: `Generator(PCG64(n))`."""
    return np.random.Generator(np.random.PCG64(case.integers(r"PCG64\((\d+)\)", path)[0]))


def salt_of(case: Case, weights: Weights) -> str:
    """Salt of a case, or of the whole set where the case has none of its own."""
    return case.spec.get("salt", weights.manifest["salt"])


def metrics_occ3d(case: Case, weights: Weights) -> Outputs:
    """Confusion matrices over the stored samples."""
    metric = Occ3DMetric(LANGOCC_PROTOCOL)
    truth, classes, free, mask = stored_tensors(
        case, "gt", "pred_class", "free_space", "mask_camera"
    )
    for answer in zip(torch.where(free, 17, classes), truth, mask, strict=True):
        metric.update(*answer)
    result = metric.result()
    scores = np.array([result.iou, result.iou_free]).round(2)
    return {
        "hist18": metric.confusion.double(),
        "hist2": metric.occupancy.double(),
        "per_class_iou": np.array(result.class_iou),
        "miou": np.array([round(result.miou, 2)]),
        "iou_occ_free": scores,
        "values.miou": np.array(round(result.miou, 2)),
        "values.iou": scores,
    }


def losses(case: Case, weights: Weights) -> Outputs:
    """All losses on rays with their gradients, and the two on volumes."""
    rendered, target, ray_weights = stored_tensors(case, "pred", "target", "ray_weights")
    density, features = stored_tensors(case, "tv_density", "tv_feat")
    rendered.requires_grad_()
    arguments = (rendered, target, ray_weights)
    with torch.enable_grad():
        values = {
            "cos_mse_sum_stop": cosine_guided_mse(*arguments),
            "cos_mse_sum": cosine_guided_mse(*arguments, through_cosine=True),
            "cossim": cosine_loss(*arguments),
            "mse": squared_loss(*arguments),
        }
        values["cos_mse_mean"] = values["cos_mse_sum"] / rendered.shape[-1]
        gradients = {
            name: torch.autograd.grad(value, rendered, retain_graph=True)[0]
            for name, value in values.items()
        }
    values |= {"tv": total_variation(density, features), "sparsity": sparsity(density)}
    return {
        **{f"loss_{name}": value[None] for name, value in values.items()},
        **{f"grad_{name}": gradient for name, gradient in gradients.items()},
        **{f"values.loss_{name}": value for name, value in values.items()},
    }


LOSS_VALUES = ("cos_mse_sum_stop", "cos_mse_sum", "cos_mse_mean", "cossim", "mse", "tv", "sparsity")


def losses_rule(case: Case, name: str) -> Rule:
    """`relative 1e-5`; gradients relative to their norm."""
    (limit,) = case.numbers(r"relative ([\d.e-]+)", "tolerance")
    return norm_distance(limit) if name.startswith("grad") else close(limit)


def retrieval(case: Case, weights: Weights) -> Outputs:
    """Scores of LiDAR points for one query."""
    shape = case.integers(r"standard_normal\(\(([\d,]+)\)\)")
    volume = torch.from_numpy(told_rng(case).standard_normal(shape).astype(np.float32))
    lidar, T_ego_lidar, query = stored_tensors(case, "points_lidar", "lidar2ego", "query")
    relevant = torch.from_numpy(case.stored["annotations"]).bool()
    points = lidar @ T_ego_lidar[:3, :3].T + T_ego_lidar[:3, 3]
    scores, inside = score_points(F.normalize(volume, dim=-1), points, query, GRID)
    seen = torch.zeros_like(inside)
    seen[torch.from_numpy(case.stored["matching_points"]).long()] = True
    seen &= inside
    found = average_precision(scores[inside], relevant[inside])
    found_seen = average_precision(scores[seen], relevant[seen])
    return {
        "points_ego": points[::10],
        "in_range": inside,
        "prob": scores.nan_to_num(-1),
        "AP": np.array([found]),
        "AP_visible": np.array([found_seen]),
        "values.AP": np.array(found),
        "values.APv": np.array(found_seen),
        "values.n_in": inside.sum(),
        "values.n_pos": relevant[inside].sum(),
        "values.n_vis": seen.sum(),
    }


RETRIEVAL_VALUES = ("values.AP", "values.APv", "values.n_in", "values.n_pos", "values.n_vis")


def retrieval_rule(case: Case, name: str) -> Rule:
    """Scores and precision to their own tolerance, counts exact."""
    if name in ("prob", "points_ego"):
        return absolute(case.numbers(r"prob ([\d.e-]+)", "tolerance")[0])
    if "AP" in name:
        return absolute(case.numbers(r"AP ([\d.e-]+)", "tolerance")[0])
    return exact


def rays(case: Case, weights: Weights) -> Outputs:
    """Rays and targets of all key frames, drawn and cast."""
    frames, count = case.stored["depths"].shape
    rng = told_rng(case)
    drawn = [_frame_pixels(case, rng, t, count) for t in range(frames)]
    pixels = RayPixels(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    random = np.random.RandomState(case.integers(r"numpy.random.seed\((\d+)\)")[0])
    chosen = draw_pixels(pixels, case.integers(r"first (\d+)\)")[0], random)
    K, augmentation = stored_tensors(case, "K", "bda")
    cast = cast_pixels(chosen, K, _camera_poses(case), augmentation)
    targets = chosen.targets
    if case.stored["embed_dim"][0] < targets.shape[1]:
        reducer = ClipReducer(targets.shape[1], int(case.stored["embed_dim"][0]))
        U = fill_tensor("reducer.U", reducer.U.shape, salt_of(case, weights))
        reducer.U.data = torch.from_numpy(U)
        targets = reducer(targets)
    columns = [chosen.frame[:, None], chosen.camera[:, None], cast.origins, cast.directions]
    return {
        "rays": torch.cat([c.float() for c in columns], dim=1),
        "coor": chosen.pixels,
        "embed_head": targets[:, :16],
        "embed_dim": np.array([targets.shape[1]]),
    }


def _frame_pixels(case: Case, rng: np.random.Generator, frame: int, count: int) -> RayPixels:
    """One key frame, drawn in the case's order; only the targets are not stored."""
    (channels,) = case.integers(r"standard_normal\(\(\d+,(\d+)\)\)")
    for low, high in re.findall(r"uniform\(([\d.]+),([\d.]+),\d+\)", case.text()):
        rng.uniform(float(low), float(high), count)
    rng.integers(*case.integers(r"integers\((\d+,\d+),\d+\)"), count)
    targets = rng.standard_normal((count, channels))
    targets = (targets / np.linalg.norm(targets, axis=1, keepdims=True)).astype(np.float16)
    pixels, depth, cams = (case.stored[name][frame] for name in ("pixels", "depths", "cams"))
    return RayPixels(
        torch.full((count,), frame),
        torch.from_numpy(cams.astype(np.int64)),
        torch.from_numpy(pixels),
        torch.from_numpy(depth),
        torch.from_numpy(targets).float(),
    )


def _camera_poses(case: Case) -> Tensor:
    """Poses of all cameras at all key frames in the middle one's LiDAR-time vehicle frame."""

    def poses(name: str) -> Array:
        q, t = case.stored[f"{name}_q"], case.stored[f"{name}_t"]
        flat = zip(t.reshape(-1, 3), np.roll(q, -1, axis=-1).reshape(-1, 4), strict=True)
        return np.stack([transform(*one) for one in flat]).reshape(*q.shape[:-1], 4, 4)

    lidar, cameras, mounts = poses("lidar_pose"), poses("cam_pose"), poses("sensor2ego")
    return torch.from_numpy(np.linalg.inv(lidar[len(lidar) // 2]) @ cameras @ mounts)


def rays_rule(case: Case, name: str) -> Rule:
    """Directions and origins, targets."""
    pattern = r"embeddings ([\d.e-]+)" if name == "embed_head" else r"directions ([\d.e-]+)"
    return absolute(case.numbers(pattern, "tolerance")[0])


def image_preprocess(case: Case, weights: Weights) -> Outputs:
    """One fit at inference and some random ones."""
    low, high, *cells = case.integers(r"integers\((\d+,\d+,\(\d+,\d+,3\))")
    (repeat,) = case.integers(r"repeated (\d+)x")
    height, width = case.integers(r"cropped to \[:(\d+,:\d+)\]")
    image = told_rng(case).integers(low, high, cells, dtype=np.uint8)
    image = image.repeat(repeat, 0).repeat(repeat, 1)[:height, :width]
    outputs: dict[str, Array | Tensor] = {}
    for i, record in enumerate(case.spec["records"]):
        random = np.random.RandomState(record["np_random_seed"])
        fit = (
            draw_fit(width, height, CONFIG.input_size, random, flips=True)
            if record["is_train"]
            else fit_image(width, height, CONFIG.input_size)
        )
        pixels = apply_fit(image, fit)
        network_input = normalise(pixels)
        (left, top), (rows, columns) = fit.crop, fit.size
        box = [left, top, left + columns, top + rows]
        drawn = [fit.resize, *fit.resized, *box, float(fit.flip), fit.rotate_deg]
        told = [record[n] for n in ("resize", "resize_dims", "crop", "flip", "rotate")]
        assert np.allclose(drawn, np.hstack(told)), f"record {i}: {drawn}"
        channel = network_input.flatten(1)
        assert np.allclose(channel.mean(1), record["mean"], atol=1e-2)
        assert np.allclose(channel.std(1), record["std"], atol=1e-2)
        outputs |= {
            f"{record['tag']}_post_rot": fit.matrix()[:2, :2],
            f"{record['tag']}_post_tran": fit.matrix()[:2, 2],
            f"{record['tag']}_pixels": pixels[::8, ::8],
            f"{record['tag']}_normalized": network_input[:, ::16, ::16],
        }
    return outputs


def image_rule(case: Case, name: str) -> Rule:
    """Matrices close, nearly all pixels within some grey levels."""
    if "_post_" in name:
        return absolute(case.numbers(r"matrices ([\d.e-]+)", "tolerance")[0])
    percent, levels = case.numbers(r"pixels: >= ([\d.]+ % within \d+) levels", "tolerance")
    return mostly(percent / 100, levels if name.endswith("pixels") else levels / 57)


def reducer(case: Case, weights: Weights) -> Outputs:
    """The reducer before and after some steps of training, and losses that separate classes."""
    (embeddings,) = stored_tensors(case, "embeds")
    channels, reduced = case.integers(r"'reducer.U' \[(\d+,\d+)\]")
    net = ClipReducer(channels, reduced)
    net.U.data = torch.from_numpy(fill_tensor("reducer.U", net.U.shape, salt_of(case, weights)))
    before = net(embeddings)
    outputs = {"bottleneck_before": before, "recon_before": net.reconstruct(before)[:, ::4]}
    pairs = similarities(before, load_vocabulary("occ3d_v1").ids())
    with torch.enable_grad():
        curve = train_reducer(net, embeddings, steps=len(case.stored["loss_curve"]))
    return outputs | {
        "loss_curve": np.array(curve),
        "U_after_20": net.U[::8, ::4],
        "bottleneck_after": net(embeddings),
        "sep_Cos": cosine_separation(*pairs)[None],
        "sep_MSE": squared_separation(*pairs)[None],
        "sep_Margin": margin_separation(*pairs)[None],
    }


def reducer_rule(case: Case, name: str) -> Rule:
    """Losses relative, vectors absolute."""
    if name == "loss_curve" or name.startswith("sep_"):
        return close(case.numbers(r"relative ([\d.e-]+)", "tolerance")[0])
    return absolute(case.numbers(r"absolute ([\d.e-]+)", "tolerance")[0])


def render(case: Case, weights: Weights) -> Outputs:
    """Sampling, weights, rendered vectors, loss and gradients."""
    batch, channels = (case.spec["inputs"][n] for n in "BC")
    rng = told_rng(case, "inputs.order")
    factor, shift = case.numbers(r"float32\)\*([\d.]+-\d+)", "inputs.order")
    shape = (batch, *GRID.shape[::-1])
    logit = rng.standard_normal((*shape, 1)).astype(np.float32) * factor + shift
    language = rng.standard_normal((*shape, channels)).astype(np.float32)
    density = torch.from_numpy(logit.astype(np.float32)).sigmoid().requires_grad_()
    features = F.normalize(torch.from_numpy(language), dim=-1).requires_grad_()
    origins, directions, jitter, target = stored_tensors(
        case, "origins", "directions", "jitter", "target"
    )
    with torch.enable_grad():
        volumes = (v.permute(0, 4, 3, 2, 1) for v in (density, features))
        rendered = render_features(*volumes, Rays(origins, directions), jitter, GRID)
        loss = cosine_guided_mse(rendered.vectors, target.float(), rendered.hit.float()[..., None])
        gradients = torch.autograd.grad(loss, (density, features))
    edges = rendered.intervals.edges
    fine = {
        "fine_start": edges[..., :-1],
        "fine_end": edges[..., 1:],
        "fine_center": rendered.intervals.samples,
        "fine_density": rendered.densities,
        "fine_weight": rendered.weights,
        "fine_trans": rendered.transmittance,
    }
    return {
        **{name: array[:, : case.stored[name].shape[1]] for name, array in fine.items()},
        **_coarse(case, jitter),
        **_largest(case, "density", gradients[0]),
        **_largest(case, "feat", gradients[1]),
        "grad_density_nnz": gradients[0].count_nonzero()[None],
        "rendered_language": rendered.vectors,
        "loss": loss[None],
        "zero_rays": (~rendered.hit).nonzero(),
        "density_checksum": torch.stack([density.mean(), density.std(unbiased=False)]),
        "values.loss": loss,
        "values.zero_weight_rays": (~rendered.hit).sum(),
    }


def _coarse(case: Case, jitter: Tensor) -> dict[str, Tensor]:
    kept = case.stored["coarse_start"].shape[1]
    edges = coarse_intervals(jitter[:, :kept], RaySampling()).edges
    return {"coarse_start": edges[..., :-1], "coarse_end": edges[..., 1:]}


def _largest(case: Case, name: str, gradient: Tensor) -> dict[str, Tensor | Array]:
    """The largest entries, at the case's indices: near ties may be ordered otherwise."""
    index = case.stored[f"grad_{name}_idx"]
    return {
        f"grad_{name}_idx": index,
        f"grad_{name}_val": gradient.flatten()[torch.from_numpy(index)],
        f"grad_{name}_abs_sum": gradient.double().abs().sum()[None],
    }


def render_rule(case: Case, name: str) -> Rule:
    """Positions nearly all close, vectors, loss and gradients close."""
    text = "tolerance"
    if name.startswith(("fine_", "coarse_")):
        atol, percent = case.numbers(r"positions ([\d.e-]+ m for >= [\d.]+) %", text)
        return mostly(percent / 100, atol)
    if name == "rendered_language":
        return absolute(case.numbers(r"rendered ([\d.e-]+)", text)[0])
    if name.endswith("loss"):
        return close(case.numbers(r"loss relative ([\d.e-]+)", text)[0])
    if name.endswith("_val"):
        return norm_distance(case.numbers(r"gradients relative ([\d.e-]+)", text)[0])
    if name.endswith("_abs_sum") or name == "density_checksum":
        return close(case.numbers(r"gradients relative ([\d.e-]+)", text)[0])
    return close(1e-2) if name.endswith("_nnz") else exact


_POSES = ("bda", "lidar_pose_q", "lidar_pose_t", "cam_pose_q", "cam_pose_t")
_RAY_INPUTS = frozenset({*_POSES, "sensor2ego_q", "sensor2ego_t", "K", "pixels", "depths", "cams"})

CASES = {
    "metrics_occ3d": Check(
        metrics_occ3d,
        lambda case, name: exact if "hist" in name or "values" in name else close(1e-9),
        inputs=frozenset({"gt", "pred_class", "free_space", "mask_camera", "mask_lidar"}),
        also=("values.miou", "values.iou"),
    ),
    "losses": Check(
        losses,
        losses_rule,
        inputs=frozenset({"pred", "target", "ray_weights", "tv_density", "tv_feat"}),
        also=tuple(f"values.loss_{name}" for name in LOSS_VALUES),
    ),
    "retrieval": Check(
        retrieval,
        retrieval_rule,
        inputs=frozenset({"points_lidar", "lidar2ego", "query", "annotations", "matching_points"}),
        also=RETRIEVAL_VALUES,
    ),
    "rays": Check(rays, rays_rule, inputs=_RAY_INPUTS),
    "rays_reduced": Check(rays, rays_rule, inputs=_RAY_INPUTS),
    "image_preprocess": Check(image_preprocess, image_rule),
    "reducer": Check(reducer, reducer_rule, inputs=frozenset({"embeds"})),
    "render": Check(
        render,
        render_rule,
        inputs=frozenset({"origins", "directions", "jitter", "target"}),
        also=("values.loss", "values.zero_weight_rays"),
    ),
}
