"""Adapters of VLScene's image half and of the whole network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.backbones import build_backbone, feature_channels
from occ_perception.blocks.lift.depth_net import DepthNet
from occ_perception.blocks.lift.stereo import (
    StereoNet,
    correlate,
    disparity_to_depth,
    resample,
)
from occ_perception.blocks.necks.fpn import FPN
from occ_perception.blocks.sparse.sparse_conv import DenseVolume
from occ_perception.systems.vlscene.config import VLSceneConfig
from occ_perception.systems.vlscene.depth_targets import NO_TARGET, depth_bin_targets
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.systems.vlscene.model import VLScene
from occ_perception.systems.vlscene.stereo_geometry import StereoGeometry
from occ_perception.systems.vlscene.view_transformer import ViewTransformer
from occ_perception.systems.vlscene.volume_interaction import VolumeInteraction
from parity.cases import Case, Weights, normal
from parity.compare import (
    Check,
    Rule,
    agreeing,
    agreeing_bits,
    exact,
    of_std,
    relative,
    within_std,
)
from parity.vlscene_volume_cases import filled

CONFIG = VLSceneConfig()


@contextmanager
def recorded(module: nn.Module, names: Mapping[str, str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of submodules while the block runs: array name -> submodule name."""
    outputs: dict[str, Tensor] = {}

    def keep(array: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[array] = output

        return module.get_submodule(names[array]).register_forward_hook(hook)

    handles = [keep(array) for array in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def camera_vectors(case: Case, rng: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """standard_normal(shape) * linspace(low, high, 30) with the case's bounds, as [B, 30]."""
    low, high, count = case.numbers(r"linspace\(([^)]*)\)")
    ramp = np.linspace(low, high, int(count)).astype(np.float32)
    return (normal(rng, shape) * torch.from_numpy(ramp)).flatten(0, 1)


def backbone_neck_small(case: Case, weights: Weights) -> dict[str, Tensor]:
    net = nn.Module()
    net.backbone = build_backbone(CONFIG.backbone, levels=(1, 2, 3))
    net.neck = FPN(feature_channels(net.backbone), CONFIG.neck_channels, extra_levels=1)
    filled(net.backbone, "backbone.", weights, "img_backbone.")
    filled(net.neck, "neck.", weights, "img_neck.")
    image = normal(case.rng(), case.integers(r"standard_normal \(([^)]*)\)"))
    layers = {
        "stem": "backbone.stem",
        "block1": "backbone.stages_0.blocks.0",
        "backbone_0": "backbone.stages_0",
        "block8": "backbone.stages_1.downsample",
    }
    with recorded(net, layers) as outputs:
        maps = net.backbone(image)
    outputs |= {f"backbone_{i}": features for i, features in enumerate(maps, start=1)}
    return outputs | {f"neck_{i}": level for i, level in enumerate(net.neck(maps))}


DEPTH_LAYERS = {
    "cam_gn": "camera_norm",
    "reduce": "reduce_conv",
    "depth_se": "depth_gate",
    **{f"depth_conv_{i}": f"depth_conv.{i}" for i in range(4)},
    "dcn_offset": "depth_conv.4.conv_offset",
    **{f"depth_conv_{i}": f"depth_conv.{i}" for i in (4, 5)},
}


def depthnet_small(case: Case, weights: Weights) -> dict[str, Tensor]:
    net = DepthNet(CONFIG.neck_channels, CONFIG.neck_channels, CONFIG.context_channels, CONFIG.bins)
    filled(net, "view_transformer.depth_net.", weights, "img_view_transformer.depth_net.")
    rng = case.rng()
    gain = case.numbers(r"x = ([\d.]+)\*")[0]
    x = gain * normal(rng, case.integers(r"x = [\d.]+\*standard_normal \(([^)]*)\)"))
    camera = camera_vectors(case, rng, case.integers(r"cam = standard_normal \(([^)]*)\)"))
    with recorded(net, DEPTH_LAYERS) as outputs:
        out = torch.cat(net(x, camera), dim=1)
    return outputs | {"out": out}


def rolled_pair(case: Case, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """left = gain * normal(shape), right = roll(left, shift) + noise * normal(shape)."""
    shape = case.integers(r"left = [\d.]+\*standard_normal \(([^)]*)\)")
    left = case.numbers(r"left = ([\d.]+)\*")[0] * normal(rng, shape)
    shift = case.integers(r"roll\(left,(-?\d+)")[0]
    noise = case.numbers(r"roll\([^)]*\) ?\+ ?([\d.]+)\*")[0]
    return left, left.roll(shift, dims=-1) + noise * normal(rng, shape)


STEREO_LAYERS = {
    "feat": "features",
    "dres0": "stem",
    "dres2": "hourglasses.0",
    "multi": "refine",
}


def stereo_small(case: Case, weights: Weights) -> dict[str, Tensor]:
    net = StereoNet(
        CONFIG.neck_channels, CONFIG.neck_channels, CONFIG.match_channels, CONFIG.stereo_groups
    )
    filled(net, "view_transformer.stereo_net.", weights, "img_view_transformer.stereo_volume_net.")
    rng = case.rng()
    left, right = rolled_pair(case, rng)
    shape = case.integers(r"cam_right = standard_normal \(([^)]*)\)")
    cameras = [camera_vectors(case, rng, shape) for _ in range(2)]
    calib = torch.tensor(case.numbers(r"calib = (\[\[.*?\]\])"), dtype=torch.float64)[:, None]
    bins = case.integers(r"bins (\d+) instead")[0]
    to_depth = disparity_to_depth(calib, bins)
    with recorded(net, STEREO_LAYERS | {"residual": "residual"}) as layers:
        single = net(left, right, *cameras, to_depth)
    outputs = {"feat": layers["feat"]}
    outputs["gwc"] = correlate(*layers["feat"].chunk(2), net.groups, bins)
    outputs["warp"] = resample(outputs["gwc"], to_depth)
    outputs |= {"dres0": layers["dres0"], "dres1": layers["dres0"] + layers["residual"]}
    return outputs | {"dres2": layers["dres2"], "multi": layers["multi"], "single": single}


INTERACTION_LAYERS = {
    "lss2stereo": "lss2stereo",
    "stereo2lss": "stereo2lss",
    "redir1": "redir1",
    "dres1": "hourglass",
    "ca3d": "channel_attention",
}


def volume_interaction_small(case: Case, weights: Weights) -> dict[str, Tensor]:
    net = VolumeInteraction(CONFIG.interaction_channels)
    prefix = "view_transformer.volume_interaction."
    filled(net, prefix, weights, f"img_{prefix}")
    rng = case.rng()
    shape = case.integers(r"stereo = softmax\([\d.]+\*standard_normal \(([^)]*)\)")
    gain = case.numbers(r"stereo = softmax\(([\d.]+)\*")[0]
    stereo, mono = ((gain * normal(rng, shape)).softmax(dim=1) for _ in range(2))
    with recorded(net, INTERACTION_LAYERS) as outputs:
        out = net(stereo, mono)
    return outputs | {"redir1": F.relu(outputs["redir1"]), "out": out}


def stereo_geometry(calibration: Mapping[str, object]) -> StereoGeometry:
    """The tensors that a KITTI calibration means for the published network image."""
    image_height, image_width = CONFIG.input_size
    width, height = int(calibration["W"]), int(calibration["H"])
    left, right = (np.asarray(calibration[key], dtype=np.float64) for key in ("P2", "P3"))
    scale = image_width / width
    lidar_to_camera = torch.eye(4)
    lidar_to_camera[:3] = torch.tensor(calibration["Tr"])
    camera_to_lidar = torch.linalg.inv(lidar_to_camera)
    intrins = [torch.eye(4) for _ in range(2)]
    for matrix, projection in zip(intrins, (left, right), strict=True):
        matrix[:3] = torch.from_numpy(projection)
    shift = [0.0, -float(int(height * scale) - image_height), 0.0]
    calib = left[0, 0] * (right[0, 3] / -right[0, 0] - left[0, 3] / -left[0, 0])
    return StereoGeometry(
        rots=camera_to_lidar[None, None, :3, :3],
        trans=camera_to_lidar[None, None, :3, 3],
        intrins_left=intrins[0][None, None],
        intrins_right=intrins[1][None, None],
        post_rots=torch.diag(torch.tensor([scale, scale, 1.0]))[None, None],
        post_trans=torch.tensor(shift)[None, None],
        bda=torch.eye(3)[None],
        calib=torch.tensor([[calib]], dtype=torch.float64),
    )


def scaled(geometry: StereoGeometry, factor: float) -> StereoGeometry:
    """The geometry of an image smaller by `factor` (rows 0 and 1 of post_rot, post_tran)."""
    rows = torch.tensor([[factor], [factor], [1.0]])
    return geometry._replace(
        post_rots=geometry.post_rots * rows, post_trans=geometry.post_trans * factor
    )


def drawn_depth(case: Case, rng: np.random.Generator, batch: int, size: tuple[int, ...]) -> Tensor:
    """The sparse depth image of the depth loss; later duplicates win."""
    count = case.integers(r"g\.integers\(.*?,\(\d+,(\d+)\)\)", "depth_loss.inputs")[0]
    low, high = case.numbers(r"g\.uniform\(([\d.]+,[\d.]+)", "depth_loss.inputs")
    cells = rng.integers(0, size[0] * size[1], (batch, count))
    depths = rng.uniform(low, high, (batch, count))
    image = np.zeros((batch, size[0] * size[1]), dtype=np.float32)
    for row, where, values in zip(image, cells, depths, strict=True):
        row[where] = values
    return torch.from_numpy(image).view(batch, *size)


def depth_loss(prob: Tensor, bins: Tensor) -> Tensor:
    """Binary cross entropy over all bins of the cells with a target, per such cell."""
    cells = bins != NO_TARGET
    truth = F.one_hot(bins[cells], prob.shape[1]).to(prob.dtype)
    total = F.binary_cross_entropy(prob.movedim(1, -1)[cells], truth, reduction="sum")
    return total / cells.sum().clamp(min=1)


def frustum_corners(frustum: Tensor) -> Tensor:
    """Four depths, the first and last row, four columns, evenly spread."""
    bins, _, columns, _ = frustum.shape
    return frustum[:: (bins - 1) // 3, [0, -1]][:, :, :: (columns - 1) // 3]


def view_transformer_small(case: Case, weights: Weights) -> dict[str, Tensor]:
    size = case.integers(r"input_size \(([^)]*)\)")
    config = VLSceneConfig(input_size=(size[0], size[1]))
    net = ViewTransformer(config)
    filled(net, "view_transformer.", weights, "img_view_transformer.")
    rng = case.rng()
    left, right = (view[:, 0] for view in rolled_pair(case, rng))
    gain = case.numbers(r"seg_logits = ([\d.]+)\*")[0]
    seg = gain * normal(rng, case.integers(r"seg_logits = [\d.]+\*standard_normal \(([^)]*)\)"))
    vl = normal(rng, case.integers(r"vl_feat = standard_normal \(([^)]*)\)"))
    depth_image = drawn_depth(case, rng, len(left), size)
    factor = case.numbers(r"multiplied by ([\d.]+\d)")[0]
    calibrations = case.value("calibration")
    order = [n for n in re.findall(r"calibration (\w+)", case.text()) if n in calibrations]
    geometry = StereoGeometry.cat(
        [scaled(stereo_geometry(calibrations[name]), factor) for name in order]
    )
    plan = net.plan(geometry)
    layers = {"clip_fusion": "distillation.teacher_fusion"}
    with recorded(net, layers) as outputs:
        view = net(left, right, plan, TeacherTargets(vl, seg))
    bins = depth_bin_targets(depth_image, config)
    assert view.distillation is not None
    return {
        "mlp_input": plan.camera_left[:, None],
        "frustum_corners": frustum_corners(net.frustum),
        "depth_prob": view.depth_prob,
        "volume": view.volume,
        "imgseg_logits": view.distillation.seg_logits,
        "clip_fusion": outputs["clip_fusion"],
        "img_clip_fusion": view.distillation.fused,
        "depth_bin": bins,
        "values.kd_feat_loss": F.l1_loss(view.context, view.distillation.fused),
        "values.kd_logits_loss": F.cross_entropy(view.distillation.seg_logits, seg.argmax(1)),
        "depth_loss.value": depth_loss(view.depth_prob, bins),
        "calib": geometry.calib[:, 0],
    }


def std_rule(case: Case, name: str) -> Rule:
    """The case's share of a standard deviation; the JSON's own numbers relative; integers exact."""
    if name == "depth_bin":
        return exact
    if name in ("values.kd_feat_loss", "values.kd_logits_loss", "depth_loss.value", "calib"):
        return relative(1e-4)
    (limit,) = case.numbers(r"([\d.e-]+)\*std", "tolerance")
    return of_std(limit)


FULL_IMAGE_LAYERS = {
    **{f"backbone_{i}": f"backbone.stages_{i}" for i in range(4)},
    "neck_s8": "neck.fpn_convs.0",
    "cam_gn": "view_transformer.depth_net.camera_norm",
    "depth_reduce": "view_transformer.depth_net.reduce_conv",
    "depth_blocks": "view_transformer.depth_net.depth_conv.2",
    "depth_aspp": "view_transformer.depth_net.depth_conv.3",
    "depth_dcn": "view_transformer.depth_net.depth_conv.4",
    "depth_logits": "view_transformer.depth_net.depth_conv.5",
    "context": "view_transformer.depth_net.context_conv",
    "stereo_feat": "view_transformer.stereo_net.features",
    "stereo_dres0": "view_transformer.stereo_net.stem",
    "stereo_dres2": "view_transformer.stereo_net.hourglasses.0",
    "stereo_dres4": "view_transformer.stereo_net.hourglasses.2",
    "stereo_prob": "view_transformer.stereo_net",
    "vi_lss2stereo": "view_transformer.volume_interaction.lss2stereo",
    "vi_stereo2lss": "view_transformer.volume_interaction.stereo2lss",
    "vi_redir1": "view_transformer.volume_interaction.redir1",
    "vi_ca3d": "view_transformer.volume_interaction.channel_attention",
    "depth_prob": "view_transformer.volume_interaction",
}
FULL_SPARSE_LAYERS = {
    "gssa_ctx": "sparse_unet.context",
    "gssa_res2": "sparse_unet.encode_full",
    "gssa_pool2": "sparse_unet.pool_half",
    "gssa_pool3": "sparse_unet.pool_quarter",
    "gssa_up2": "sparse_unet.decode_half",
    "gssa_up3": "sparse_unet.decode_full",
    "gssa_recon": "sparse_unet.gate",
}
FULL_VOLUME_LAYERS = {
    "gssa_pre": "sparse_unet.spread",
    "gssa_out": "sparse_unet",
    "head_occ_conv": "head.reduce",
    "head_sdb_in": "head.enter",
    "head_sdb_mpac": "head.diffuse",
    "head_sdb": "head",
}


def full_images(case: Case) -> tuple[Tensor, Tensor]:
    """Two crops of one wide noise image, the right one with more noise."""
    text = "inputs.images"
    (seed,) = case.integers(r"PCG64\((\d+)\)", text)
    rng = np.random.Generator(np.random.PCG64(seed))
    big = normal(rng, case.integers(r"big=rng\.standard_normal\(\(([\d,]+)\)\)", text))
    noise = normal(rng, case.integers(r"noise=rng\.standard_normal\(\(([\d,]+)\)\)", text))
    (gain,) = case.numbers(r"float32\(([\d.]+)\)\*noise", text)
    (shift,) = case.integers(r"right=\(big\[:,:,(\d+):", text)
    width = noise.shape[2]
    return big[None, :, :, :width], (big[:, :, shift : shift + width] + gain * noise)[None]


def at_rows(volume: DenseVolume, index: np.ndarray) -> Tensor:
    """Features of the stored rows; a row that is inactive here becomes NaN and fails."""
    b, x, y, z = torch.from_numpy(index.astype(np.int64)).T
    rows = volume.features[b, :, x, y, z]
    return rows.masked_fill(~volume.mask[b, 0, x, y, z, None], torch.nan)


def infer_full(case: Case, weights: Weights) -> dict[str, Tensor | np.ndarray]:
    """The whole network at the published size."""
    net = filled(VLScene(CONFIG), "", weights, "")
    geometry = stereo_geometry(case.value("inputs.calibration"))
    plan = net.plan(geometry)
    names = FULL_IMAGE_LAYERS | FULL_SPARSE_LAYERS | FULL_VOLUME_LAYERS
    with recorded(net, names) as layers, recorded(net, {"view": "view_transformer"}) as views:
        output = net(*full_images(case), plan)
    volumes = {name: layers.pop(name) for name in FULL_SPARSE_LAYERS}
    after = {name: layers.pop(name) for name in FULL_VOLUME_LAYERS}
    gwc = correlate(*layers["stereo_feat"].chunk(2), CONFIG.stereo_groups, CONFIG.bins)
    bounds = plan.pool.bounds
    labels, _ = net.head.predict(after["head_sdb"])
    return {
        "mlp_input_left": plan.camera_left[:, None],
        "mlp_input_right": plan.camera_right[:, None],
        "geom": net.view_transformer.points(geometry),
        "volume_count": (bounds[1:] - bounds[:-1]).view(CONFIG.lift_shape).numpy(),
        "stereo_gwc": gwc,
        "stereo_warp": resample(gwc, plan.to_depth),
        **layers,
        "volume": views["view"].volume,
        "gssa_active_bits": np.packbits(volumes["gssa_ctx"].mask[0, 0].numpy()),
        **{name: at_rows(v, case.stored[f"{name}_idx"]) for name, v in volumes.items()},
        "n_active": np.array(
            [int(volumes[f"gssa_{name}"].mask.sum()) for name in ("ctx", "pool2", "pool3")]
        ),
        **after,
        "logits": output.logits,
        "argmax": labels[0],
        "argmax_hist": np.bincount(labels.flatten().numpy(), minlength=CONFIG.classes),
        "inputs.calib": geometry.calib[0, 0],
    }


def full_rule(case: Case, name: str) -> Rule:
    """The three kinds of tolerance that the case names: before, after the lift, and of labels."""
    (before,) = case.numbers(r"max\|diff\| <= ([\d.e-]+)\*std", "tolerance")
    (distance,) = case.numbers(r"\|\|ref\|\|_2 <= ([\d.e-]+)", "tolerance")
    (share,) = case.numbers(r"and ([\d.]+)% of entries", "tolerance")
    (spread,) = case.numbers(r"within ([\d.e-]+)\*std", "tolerance")
    (labels,) = case.numbers(r"argmax agreement >= ([\d.]+)%", "tolerance")
    (active,) = case.numbers(r"at most ([\d.e-]+) of the voxels", "tolerance")
    if name in ("argmax", "volume_count"):
        return agreeing(labels / 100)
    if name == "gssa_active_bits":
        return agreeing_bits(1 - active)
    if name in ("n_active", "argmax_hist"):
        return relative(active if name == "n_active" else 1 - labels / 100)
    if name == "inputs.calib":
        return relative(1e-12)  # plain float64 arithmetic
    if name.startswith(("volume", "gssa", "head", "logits")):
        return within_std(spread, share / 100, distance)
    return of_std(before)


CASES: dict[str, Check] = {
    "backbone_neck_small": Check(backbone_neck_small, std_rule),
    "depthnet_small": Check(depthnet_small, std_rule),
    "stereo_small": Check(stereo_small, std_rule),
    "volume_interaction_small": Check(volume_interaction_small, std_rule),
    "view_transformer_small": Check(
        view_transformer_small,
        std_rule,
        also=("values.kd_feat_loss", "values.kd_logits_loss", "depth_loss.value", "calib"),
    ),
    "infer_full": Check(
        infer_full,
        full_rule,
        inputs=frozenset(f"{name}_idx" for name in FULL_SPARSE_LAYERS),
        also=("n_active", "argmax_hist", "inputs.calib"),
        heavy=True,
    ),
}
