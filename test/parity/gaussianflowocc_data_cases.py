"""Adapters of GaussianFlowOcc's inputs and targets: images, labels, losses, schedule."""

from __future__ import annotations

import json
import re

import numpy as np
import torch

from occ_perception.blocks.surround_input import ImageFit, apply_fit, draw_fit, fit_image, normalise
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.flow import dynamic_gaussians, moved_means
from occ_training.data.splat_targets import (
    MASK_FILE_ORDER,
    draw_steps,
    fit_labels,
    rendering_cameras,
)
from occ_training.engine.ema import Ema, EmaConfig
from occ_training.engine.schedule import GAUSSIANFLOWOCC
from occ_training.losses.splatting import (
    SplatLossWeights,
    rendered_class_loss,
    rendered_depth_loss,
)
from parity.cases import Array, Case, Weights
from parity.compare import Check, Outputs, Rule, absolute, exact
from parity.field_tools import close
from parity.surround_tools import inputs_module, pose, stats, told_input, told_slices

CONFIG = GaussianFlowOccConfig()
SOURCE = (1600, 900)


def losses(case: Case, weights: Weights) -> Outputs:
    """Both losses, moved means, learning rates and averaging."""
    made = {k: torch.from_numpy(v) for k, v in told_input(case, "loss_inputs").items()}
    flow = {k: torch.from_numpy(v) for k, v in told_input(case, "flow_inputs").items()}
    classes, depth = made["pred"][..., :-1], made["pred"][..., -1]
    scale = SplatLossWeights()
    dynamic = dynamic_gaussians(flow["logits"], CONFIG.dynamic_ids)
    epochs = range(len(case.stored["lr_epoch"]))
    warm_up = "warmup_lr_iter_0_1_50_100_199"
    ema = "ema_decay_at_update_10561_12000_20000_42000"
    return {
        "loss_sem": scale.semantic * rendered_class_loss(classes, made["semantic"][:, 0]),
        "loss_depth": scale.depth * rendered_depth_loss(depth, made["depth"][:, 0]),
        "moved": moved_means(flow["means"], flow["offsets"], dynamic),
        "lr_epoch": 1e-4 * np.array([GAUSSIANFLOWOCC.factor(10**6, epoch) for epoch in epochs]),
        warm_up: 1e-4 * np.array([GAUSSIANFLOWOCC.factor(i, 0) for i in _named_numbers(warm_up)]),
        ema: np.array([_ema_decay(updates) for updates in _named_numbers(ema)]),
    }


def _ema_decay(updates: int) -> float:
    """What is left of a one after the update that makes the average follow a zero."""
    network = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(network.weight)
    ema = Ema(EmaConfig(start=updates - 1), network)
    torch.nn.init.zeros_(network.weight)
    ema.update(network)
    return float(ema.state["weight"])


def _named_numbers(name: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", name)]


def told_relative(case: Case, name: str) -> Rule:
    """`rel 1e-5` as the case says it."""
    (limit,) = case.numbers(r"rel ([\d.e-]+)", "tolerance")
    return close(limit, limit)


def labels(case: Case, weights: Weights) -> Outputs:
    """Chosen steps, fitted labels and rendering cameras."""
    (factor,) = case.numbers(r"factor ([\d.]+)")
    (crop_top,) = case.integers(r"crop_top (\d+)")
    (furthest_m,) = case.numbers(r"max depth ([\d.]+)")
    (seed,) = case.integers(r"label_files\((\d+), i\)")
    frames = json.loads(str(case.stored["frames_json"]))
    current = len(frames) // 2
    offsets = case.integers(r"choice of offsets \(([-\d, ]+)\)", "arrays.semantic, depth")
    steps = [current + offset for offset in offsets]
    files = [inputs_module(case).label_files(seed, i) for i in steps]
    order = [MASK_FILE_ORDER.index(name) for name in frames[0]["cams"]]
    classes = torch.from_numpy(np.stack([f[0][order] for f in files]))
    depth = torch.from_numpy(np.stack([f[1] for f in files])).float()
    fitted = fit_labels(classes, depth, factor, crop_top, furthest_m)
    views = [(i, name) for i in steps for name in frames[i]["cams"]]
    cameras = rendering_cameras(
        [np.array(frames[i]["cams"][name]["cam_intrinsic"]) for i, name in views],
        [_pose_in(frames[current], frames[i]["cams"][name]) for i, name in views],
        factor,
        crop_top,
        fitted.depth_m.shape[-2:],
    )
    (name,) = (n for n in case.stored if n.startswith("selected_frames_random"))
    random = np.random.RandomState(_named_numbers(name)[0])
    (count,) = case.integers(r"random choice of (\d+)", f"arrays.{name}")
    valid = [frame["valid"] for frame in frames]
    return {
        "semantic": fitted.classes.to(torch.uint8),
        "depth": fitted.depth_m,
        "gs_intrins": cameras.K.unflatten(0, (len(steps), -1)),
        "gs_extrins": cameras.T_cam_world.unflatten(0, (len(steps), -1)),
        "selected_frames": np.array(steps),
        name: np.array(draw_steps(valid, count, random)),
    }


def _pose_in(frame: dict, camera: dict) -> Array:
    """Pose of a camera in a key frame's vehicle frame, in single precision as the case's."""
    parts = (pose(frame, "ego2global"), pose(camera, "ego2global"), pose(camera, "sensor2ego"))
    ego, ego_then, mount = (torch.from_numpy(part).float() for part in parts)
    return (ego.inverse() @ (ego_then @ mount)).numpy()


def labels_rule(case: Case, name: str) -> Rule:
    """Classes exact, depth to half precision, cameras close."""
    if name == "depth":
        return absolute(case.numbers(r"depth abs ([\d.e-]+)", "tolerance")[0])
    if name.startswith("gs_"):
        return absolute(case.numbers(r"cameras abs ([\d.e-]+)", "tolerance")[0])
    return exact


def images(case: Case, weights: Weights) -> Outputs:
    """Inference fit and one random training fit."""
    photo = told_input(case, "photo")
    test = fit_image(*SOURCE, CONFIG.input_size)
    (name,) = (n for n in case.stored if n.startswith("train.augs"))
    random = np.random.RandomState(_named_numbers(name)[0])
    count = len(case.stored[name])
    draws = [draw_fit(*SOURCE, CONFIG.input_size, random, flips=False) for _ in range(count)]
    outputs = {"test.aug": _numbers(test), name: np.stack([_numbers(d) for d in draws])}
    for tag, fit in (("test", test), ("train1", draws[1])):
        canvas = apply_fit(photo, fit)
        network_input = normalise(canvas)
        cut = told_slices(case.spec["arrays"]["test.canvas / train1.canvas"])
        outputs |= {
            f"{tag}.canvas": canvas[cut],
            f"{tag}.input.stats": stats(network_input),
            f"{tag}.post_rot": fit.matrix()[:2, :2],
            f"{tag}.post_tran": fit.matrix()[:2, 2],
        }
        if tag == "test":
            outputs["test.input"] = network_input[:, ::16, ::16]
    return outputs


def _numbers(fit: ImageFit) -> Array:
    (left, top), (height, width) = fit.crop, fit.size
    box = (left, top, left + width, top + height)
    return np.array([fit.resize, *fit.resized, *box, fit.flip, fit.rotate_deg])


def images_rule(case: Case, name: str) -> Rule:
    """Grey levels, inputs, matrices."""
    if name.endswith("canvas"):
        return absolute(case.numbers(r"canvas \+-(\d+) grey", "tolerance")[0])
    pattern = r"input ([\d.]+)" if ".input" in name else r"matrices ([\d.e-]+)"
    return absolute(case.numbers(pattern, "tolerance")[0])


CASES = {
    "losses": Check(losses, told_relative),
    "labels": Check(labels, labels_rule, inputs=frozenset({"frames_json"})),
    "images": Check(images, images_rule),
}
