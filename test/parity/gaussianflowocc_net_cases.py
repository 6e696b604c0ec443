"""Adapters of GaussianFlowOcc's whole network: two key frames, and one training sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from occ_perception.blocks.attention.deformable import ProjectionPlan, project_points
from occ_perception.rendering.splat_torch import SplatCameras, draw_splats, project_gaussians
from occ_perception.systems.gaussianflowocc.checkpoint import NAMES
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc, GaussianScene
from occ_perception.voxels.gaussians import gaussians_to_volume, label_voxels
from occ_training.losses.splatting import (
    SplatLossWeights,
    rendered_class_loss,
    rendered_depth_loss,
)
from parity.cases import Array, Case, Reference, Weights
from parity.compare import Check, Outputs, Rule
from parity.field_tools import close
from parity.gaussianflowocc_voxel_cases import label_histogram
from parity.surround_tools import mostly, stats, told_input

CONFIG = GaussianFlowOccConfig()
HEAD = 32  # Gaussians whose features are stored


def filled_model(weights: Weights) -> GaussianFlowOcc:
    """The published network with the case's weights, scaled and shifted as the manifest says."""
    state = weights.official()
    for key, affine in weights.manifest["affine"].items():
        state[key] = state[key] * torch.tensor(affine["mul"]) + torch.tensor(affine["add"])
    state |= {key: torch.tensor(value) for key, value in weights.manifest["constant"].items()}
    model = GaussianFlowOcc(CONFIG)
    model.load_state_dict({NAMES.rename(key): tensor for key, tensor in state.items()})
    return model.eval()


def case_weights(case: Case) -> Weights:
    """The weights of a case whose salt is told in its text, or in that of another case."""
    text = case.text("weights")
    salt = re.search(r"salt '(\w+)'", text)
    if salt is None:
        return case_weights(Case(case.folder, text.removeprefix("as ")))
    return Weights(case.folder, salt.group(1))


class Recorder:
    """Inputs and outputs of watched submodules, in the order of the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple, object]] = []

    @contextmanager
    def watching(self, model: nn.Module, names: Mapping[str, str]) -> Iterator[None]:
        """Record while the block runs: array name -> submodule."""

        def keep(name: str) -> Callable[[nn.Module, tuple, object], None]:
            return lambda _module, inputs, output: self.calls.append((name, inputs, output))

        handles = [
            model.get_submodule(module).register_forward_hook(keep(name))
            for name, module in names.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


LAYERS = {"backbone": "backbone", "neck": "neck", "encode": "decoder.encode"} | {
    f"block{b}{suffix}": f"decoder.blocks.{b}{module}"
    for b in range(CONFIG.blocks)
    for suffix, module in (
        (".temporal_attn", ".temporal_attn"),
        (".self_attn", ".self_attn"),
        (".cross_att", ".cross_attn"),
        ("", ""),
    )
}


def _layers(recorder: Recorder, plan: ProjectionPlan) -> dict[str, Tensor]:
    """Arrays of one pass, named as the case names them."""
    arrays: dict[str, Tensor] = {}
    codes = iter(["prev", *(f"block{b}" for b in range(CONFIG.blocks))])
    for name, inputs, output in recorder.calls:
        if name == "backbone":
            for level, features in zip(("c3", "c4", "c5"), output, strict=True):
                step = features.shape[1] // 16
                arrays |= _with_stats(f"backbone.{level}", features, features[:, ::step, ::8, ::8])
        elif name == "neck":
            for level, features in zip(("p3", "p4", "p5"), output, strict=True):
                arrays |= _with_stats(f"neck.{level}", features, features[:, ::32, ::4, ::4])
        elif name == "encode":
            arrays |= _with_stats(f"pos_enc.{next(codes)}", output, output[0, :HEAD])
        elif "." in name:
            if name.endswith("cross_att"):
                arrays |= _visibility(name.split(".")[0], inputs[1], plan)
            arrays |= _with_stats(name, output, output[0, :HEAD])
        else:
            means = output[1]
            arrays |= _with_stats(f"{name}.gaussian_rectifier", means, means[0, :HEAD])
    return arrays


def _with_stats(name: str, full: Tensor, stored: Tensor) -> dict[str, Tensor]:
    return {name: stored, f"{name}.stats": stats(full)}


def _visibility(block: str, means: Tensor, plan: ProjectionPlan) -> dict[str, Tensor | Array]:
    position, visible = (t[0] for t in project_points(means, plan))
    return {
        f"{block}.ref_points": position[:, :HEAD],
        f"{block}.ref_points.stats": stats(position[visible]),
        f"{block}.mask_packed": np.packbits(visible.numpy(), axis=-1),
        f"{block}.visible_per_cam": visible.sum(dim=-1),
    }


def _frame(case: Case, model: GaussianFlowOcc, frame: str) -> tuple[Tensor, ProjectionPlan]:
    which = "AB".index(frame)
    images = torch.from_numpy(told_input(case, "images", which=which))[None]
    given = {
        name: torch.from_numpy(case.stored[f"in.{frame}.{name}"])[None]
        for name in ("cam2ego", "intrin", "post_rot", "post_tran")
    }
    return images, model.plan(
        given["cam2ego"], given["intrin"], image_map(given["post_rot"], given["post_tran"])
    )


def image_map(post_rot: Tensor, post_tran: Tensor) -> Tensor:
    """3x3 pixel maps of the official pair of matrix and shift."""
    matrix = post_rot.clone()
    matrix[..., :2, 2] = post_tran[..., :2]
    return matrix


def relative_motion(now: Array, before: Array) -> Tensor:
    """T_now_before of two vehicle poses, as `[1, 4, 4]`."""
    motion = np.linalg.inv(now.astype(np.float64)) @ before.astype(np.float64)
    return torch.from_numpy(motion).float()[None]


def forward_seq(case: Case, weights: Weights) -> Outputs:
    """First key frame of a scene (two passes) and the next one."""
    model = filled_model(case_weights(case))
    outputs: dict[str, Tensor | Array] = {}

    def run(tag: str, maps, plan, memory) -> GaussianScene:
        recorder = Recorder()
        with recorder.watching(model, LAYERS):
            scene = model.place(maps, plan, memory)
        outputs.update({f"{tag}.{n}": a for n, a in _layers(recorder, plan).items()})
        return scene

    def look(frame: str, tags: tuple[str, ...]):
        images, plan = _frame(case, model, frame)
        recorder = Recorder()
        with recorder.watching(model, LAYERS):
            maps = model.image_features(images)
        arrays = _layers(recorder, plan)
        outputs.update({f"{tag}.{n}": a for tag in tags for n, a in arrays.items()})
        return maps, plan

    maps, plan = look("A", ("A1", "A2"))
    first = run("A1", maps, plan, None)
    second = run("A2", maps, plan, first.memory)
    outputs |= _frame_outputs(case, "A", second)
    maps, plan = look("B", ("B",))
    poses = (case.stored[f"in.{frame}.ego2global"] for frame in "BA")
    third = run("B", maps, plan, second.memory.carried(relative_motion(*poses)))
    outputs |= _frame_outputs(case, "B", third)
    return {name: array for name, array in outputs.items() if name in case.stored}


def _frame_outputs(case: Case, frame: str, scene: GaussianScene) -> dict[str, Tensor | Array]:
    gaussians = scene.gaussians[0]
    every = 8 if frame == "A" else 1
    volume = gaussians_to_volume(gaussians, CONFIG.grid, CONFIG.reach)
    voxels = label_voxels(volume, CONFIG.roof)
    arrays = {
        "means": gaussians.means,
        "quats": gaussians.quaternions[::every],
        "scale": gaussians.scales[::every],
        "opacity": gaussians.opacities[::every],
        "logits": gaussians.logits[::every],
        "feature_sub": scene.features[0, :64],
        "density_raw_sub": volume.density[::4, ::4],
        "density_raw.stats": stats(volume.density),
        "semantics_sub": volume.logits[3::16, 3::16, ::2],
        "semantics.stats": stats(volume.logits),
        "occupancy": _where_not_free(case, frame, voxels.classes),
        "free": np.packbits(voxels.free(CONFIG.free_below).numpy(), axis=-1),
        "label_hist": label_histogram(voxels),
    }
    return {f"{frame}.{name}": array for name, array in arrays.items()}


def _where_not_free(case: Case, frame: str, classes: Tensor) -> Array:
    """Classes; free voxels, where the case makes no statement, are taken from it."""
    free = np.unpackbits(case.stored[f"{frame}.free"], axis=-1).astype(bool)
    return np.where(free, case.stored[f"{frame}.occupancy"], classes.numpy())


def flipped_bits(most: int) -> Rule:
    """At most so many differing bits per row of a packed mask."""

    def rule(ours: Array, reference: Reference) -> str | None:
        differing = np.unpackbits(ours ^ reference.values, axis=-1).sum(axis=-1)
        return None if differing.max() <= most else f"up to {differing.max()} bits differ in a row"

    return rule


def forward_rule(case: Case, name: str) -> Rule:
    """The tolerance of every kind of array, from the case's text."""

    def told(key: str, pattern: str) -> list[float]:
        return [float(n) for n in re.search(pattern, case.spec["tolerance"][key]).groups()]

    decoder = "decoder, features, means"
    leaf = name.split(".")[-1]
    if leaf in ("mask_packed", "visible_per_cam"):
        (bits,) = told(decoder, r"up to (\d+) differing bits")
        return flipped_bits(int(bits)) if leaf == "mask_packed" else close(0, bits)
    if leaf == "free":
        (percent,) = told("free", r"equal on ([\d.]+) %")
        return lambda ours, ref: _share_of_bits(ours, ref, percent / 100)
    if leaf == "occupancy":
        (percent,) = told("occupancy where not free", r"equal on ([\d.]+) %")
        return mostly(percent / 100, 0)
    if leaf == "label_hist":
        return close(1e-3, 10)
    if leaf == "stats":
        return close(2e-3, 2e-3)
    if leaf in ("density_raw_sub", "semantics_sub"):
        atol, percent = told("density, logits volume", r"abs ([\d.e-]+) on ([\d.]+) %")
        return mostly(percent / 100, atol, 2e-3)
    if case.stored[name].dtype == np.float16:
        atol, rtol = told("float16 arrays", r"abs ([\d.e-]+) \+ rel ([\d.e-]+)")
        return mostly(0.999, atol, rtol)
    if ".backbone." in name or ".neck." in name:
        return mostly(1.0, told("backbone, neck", r"abs ([\d.e-]+)")[0])
    atol, percent = told(decoder, r"abs ([\d.e-]+) on ([\d.]+) %")
    if leaf == "ref_points":
        return mostly(0.99, atol, 1e-3)  # meaningless where a Gaussian is not visible
    return mostly(percent / 100, atol)


def _share_of_bits(ours: Array, reference: Reference, share: float) -> str | None:
    equal = 1 - np.unpackbits(ours ^ reference.values).mean()
    return None if equal >= share else f"{equal:.4%} of the bits are equal"


def train_forward(case: Case, weights: Weights) -> Outputs:
    """Past frame, current frame, flow, 18 pictures and both losses."""
    model = filled_model(case_weights(case))
    stored = {k: torch.from_numpy(v) for k, v in case.stored.items() if k.startswith("in.")}
    current, previous = (
        torch.from_numpy(told_input(case, "images", which=i))[None] for i in range(2)
    )
    plan = model.plan(stored["in.cam2ego"][None], stored["in.intrin"][None], _told_map(case)[None])
    motion = relative_motion(case.stored["in.ego2global_cur"], case.stored["in.ego2global_prev"])
    past = model(previous, plan).memory.carried(motion)
    scene = model(current, plan, past)
    steps = stored["in.selected_frames"][:-1]
    means = model.means_over_time(scene, steps)[0]
    pictures = _pictures(scene, means, stored)
    classes, depth = (torch.from_numpy(a) for a in told_input(case, "render_labels"))
    scale = SplatLossWeights()
    rendered = pictures.unflatten(0, classes.shape[1:3])[None]
    moved = (means[0] != means[-1]).any(dim=-1)
    return {
        "offsets_raw": model.flow(scene.features, steps)[0, ::10],
        "means_T": means[:, ::2],
        "n_dynamic": moved.sum(),
        "render_sub": pictures[:, 8::16, 8::16],
        "render.stats": torch.stack([stats(p) for p in pictures]),
        "loss.loss_gs_sem": scale.semantic * rendered_class_loss(rendered[..., :-1], classes),
        "loss.loss_gs_depth": scale.depth * rendered_depth_loss(rendered[..., -1], depth),
    }


def _told_map(case: Case) -> Tensor:
    """Pixel map of the `post matrices (factor, left, -top)` in the case's text."""
    factor, left, top = case.numbers(r"post matrices \(([^)]*)\)")
    matrix = torch.diag(torch.tensor([factor, factor, 1.0]))
    matrix[:2, 2] = torch.tensor([left, top])
    return matrix.expand(len(CONFIG.cameras), 3, 3)


def _pictures(scene: GaussianScene, means: Tensor, stored: Mapping[str, Tensor]) -> Tensor:
    """Pictures of all steps, step by step and camera by camera."""
    gaussians = scene.gaussians[0]
    height, width = CONFIG.input_size
    pictures = []
    for there, T_cam_ego, K in zip(
        means, stored["in.gs_extrins"], stored["in.gs_intrins"], strict=True
    ):
        cameras = SplatCameras(T_cam_ego, K, width, height)
        opacities = gaussians.opacities[:, 0]
        splats = project_gaussians(
            there, gaussians.scales, gaussians.quaternions, opacities, cameras
        )
        pictures.append(draw_splats(splats, opacities, gaussians.logits, width, height).values)
    return torch.cat(pictures)


def train_rule(case: Case, name: str) -> Rule:
    """Means and pictures mostly close, losses close."""
    if name in ("offsets_raw", "means_T"):
        atol, percent = case.numbers(r"abs ([\d.e-]+ on [\d.]+) %", "tolerance.means_T, offsets")
        return mostly(percent / 100, atol)
    if name == "render_sub":
        text = r"^abs ([\d.e-]+ \+ rel [\d.e-]+ on [\d.]+) %"
        atol, rtol, percent = case.numbers(text, "tolerance.render_sub")
        return mostly(percent / 100, atol, rtol)
    if name.startswith("loss."):
        return close(case.numbers(r"rel ([\d.e-]+) \(gsplat 1.2.0", "tolerance.losses")[0])
    return close(5e-3, 5e-3)


CASES = {
    "forward_seq": Check(
        forward_seq,
        forward_rule,
        inputs=frozenset(
            f"in.{frame}.{name}"
            for frame in "AB"
            for name in ("ego2global", "cam2ego", "intrin", "post_rot", "post_tran")
        ),
        heavy=True,
    ),
    "train_forward": Check(
        train_forward,
        train_rule,
        inputs=frozenset(
            f"in.{name}"
            for name in (
                "ego2global_cur",
                "ego2global_prev",
                "cam2ego",
                "intrin",
                "gs_intrins",
                "gs_extrins",
                "selected_frames",
            )
        ),
        heavy=True,
    ),
}
