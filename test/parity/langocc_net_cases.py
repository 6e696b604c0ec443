"""Adapter of LangOcc's whole network: three key frames of six cameras."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.lift.temporal_stereo import sweep_positions
from occ_perception.systems.langocc.checkpoint import NAMES, relayout
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_perception.systems.langocc.heads import PointHead, fold_prompts
from occ_perception.systems.langocc.model import FREE, KeyFrame, LangOcc, LangOccPlan
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.text.vocabulary import load_vocabulary
from parity.cases import Array, Case, Reference, Weights
from parity.compare import Check, Outputs, Rule
from parity.field_tools import close
from parity.fill import fill_tensor
from parity.gaussianflowocc_net_cases import Recorder, image_map
from parity.surround_tools import mostly

CONFIG = LangOccConfig()
FRAMES, CAMERAS = 3, len(CONFIG.cameras)


def filled_model(weights: Weights) -> LangOcc:
    """The published network with the case's weights."""
    model = LangOcc(CONFIG)
    official = weights.official()
    model.load_state_dict({NAMES.rename(key): relayout(t) for key, t in official.items()})
    return model.eval()


def reduced_parts(weights: Weights) -> tuple[PointHead, ClipReducer]:
    """Language head and reducer of the reduced variant."""
    replaced = weights.manifest["variant_reduced"]["replace"]
    head = weights.official("language_decoder.")
    for key, shape in replaced.items():
        scale = weights.scale.get(key, 1.0)
        head[key] = torch.from_numpy(fill_tensor(key, shape, weights.salt)) * scale
    channels, reduced = replaced["reducer.U"]
    reducer = ClipReducer(channels, reduced)
    reducer.U.data = head.pop("reducer.U")
    names = {NAMES.rename(key).removeprefix("language_head."): t for key, t in head.items()}
    module = PointHead(CONFIG.scene_channels, reduced)
    module.load_state_dict(names)
    return module, reducer


def told_images(case: Case) -> Tensor:
    """Images `[1, F, N, 3, H, W]`; the case draws them camera by camera."""
    seed, *shape = case.integers(r"PCG64\((\d+\)\).standard_normal\(\([\d,]+)", "inputs.images")
    rng = np.random.Generator(np.random.PCG64(seed))
    images = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    return images.unflatten(0, (CAMERAS, FRAMES)).transpose(0, 1)[None]


def told_geometry(case: Case) -> SurroundGeometry:
    """Cameras and poses; the case stores them frame by frame."""

    def frames(name: str) -> Tensor:
        return torch.from_numpy(case.stored[name]).unflatten(0, (FRAMES, CAMERAS))[None]

    fit = image_map(*(torch.from_numpy(case.stored[f"in_post_{n}"]) for n in ("rot", "tran")))
    return SurroundGeometry(
        frames("in_sensor2egos"),
        frames("in_ego2globals"),
        frames("in_intrins"),
        fit.expand(1, FRAMES, CAMERAS, 3, 3),
        torch.from_numpy(case.stored["in_bda"])[None],
    )


def forward_full(case: Case, weights: Weights) -> Outputs:
    """Every stage that the case stores, cut as it tells, with mean and spread of the whole."""
    model, geometry = filled_model(weights), told_geometry(case)
    plan = model.plan(geometry)
    full = dict(_geometry(model, geometry, plan))
    now, before = _matched(model, told_images(case), plan, full)
    past = _lifted(model, before, plan, 1, "adj", full)
    present = _lifted(model, now, plan, 0, "key", full)
    scene = _scene(model, torch.cat([past, present], dim=1), full)
    full |= _words(case, model, scene, *reduced_parts(weights))
    outputs: dict[str, Tensor | Array] = {}
    for name, tensor in full.items():
        told = case.spec["tensors"].get(name, {})
        outputs[name] = tensor[told_index(told["slice"])] if told.get("slice") else tensor
        if tuple(tensor.shape) == tuple(told.get("shape", ())):
            outputs |= {
                f"tensors.{name}.mean": tensor.double().mean(),
                f"tensors.{name}.std": tensor.double().std(unbiased=False),
            }
    return {n: o for n, o in outputs.items() if n in case.stored or n in STATISTICS}


def told_index(text: str) -> tuple[slice | int, ...]:
    """A slice text such as `0,::4` as an index; numbers stay numbers."""
    return tuple(
        slice(*(int(b) if b else None for b in part.split(":"))) if ":" in part else int(part)
        for part in text.split(",")
    )


def zyx(volume: Tensor) -> Tensor:
    """A volume `[..., x, y, z]` of ours in the official order."""
    return volume.transpose(-1, -3)


def _geometry(model: LangOcc, geometry: SurroundGeometry, plan: LangOccPlan) -> dict[str, Tensor]:
    poses, motions = geometry.T_key_cam(), geometry.T_earlier_now()
    frames = ("key", "adj")
    vectors = plan.cameras
    return {
        **{f"sensor2keyego_{name}": poses[:, i] for i, name in enumerate(frames)},
        **{f"cur2adj_{name}": motions[:, i] for i, name in enumerate(frames)},
        "mlp_input_key": vectors,
        "mlp_bn_key": model.depth_net.camera_norm(vectors[0]),
        **{f"frustum_ego_{name}": model.points(geometry, i) for i, name in enumerate(frames)},
        "stereo_grid_key": sweep_positions(model.fine_frustum, plan.sweeps[0, 0]),
    }


def _matched(
    model: LangOcc, images: Tensor, plan: LangOccPlan, full: dict[str, Tensor]
) -> tuple[KeyFrame, KeyFrame]:
    recorder = Recorder()
    with recorder.watching(model, {"backbone": "backbone"}):
        now = model.look(images[:, 0])
    ((_, _, maps),) = recorder.calls
    full |= dict(zip(("backbone_c2_key", "backbone_c4_key", "backbone_c5_key"), maps, strict=True))
    full["neck_key"] = now.maps[0]
    before, oldest = model.look(images[:, 1]), model.glance(images[:, 2])
    full["stereo_ref_oldest"] = oldest[0]
    now = model.match(now, before.stereo, plan.sweeps[:, 0])
    before = model.match(before, oldest, plan.sweeps[:, 1])
    full |= {"cost_volume_key": now.cost[0], "cost_volume_adj": before.cost[0]}
    return now, before


def _lifted(
    model: LangOcc,
    frame: KeyFrame,
    plan: LangOccPlan,
    index: int,
    name: str,
    full: dict[str, Tensor],
) -> Tensor:
    recorder = Recorder()
    watched = {n: n for n in ("depth_net", "depth_net.reduce_conv", "depth_net.cost_net")}
    with recorder.watching(model, {**watched, "pre_process": "pre_process"}):
        volume = model.lift(frame, plan.cameras, plan.pools[index])
    calls = {name: (inputs, output) for name, inputs, output in recorder.calls}
    logits, context = calls["depth_net"][1]
    (lifted,) = calls["pre_process"][0]
    full |= {
        f"depth_net_{name}": torch.cat([logits, context], dim=1),
        f"depth_prob_{name}": logits.softmax(dim=1),
        f"lift_{name}": zyx(lifted),
        f"lift_{name}_nonempty": (lifted[0] != 0).any(dim=0).sum()[None],
        f"lift_{name}_bevsum": zyx(lifted)[0].sum(dim=1),
        f"reduce_conv_{name}": calls["depth_net.reduce_conv"][1],
        f"cost_volume_net_{name}": calls["depth_net.cost_net"][1],
        f"pre_process_{name}": zyx(volume),
    }
    return volume


def _scene(model: LangOcc, volume: Tensor, full: dict[str, Tensor]) -> Tensor:
    recorder = Recorder()
    stages = {f"enc{i}": f"encoder.stages.{i}" for i in range(len(CONFIG.stage_channels))}
    with recorder.watching(model, {**stages, "enc_neck": "encoder"}):
        scene = model.final(model.encoder(volume))
    full |= {name: zyx(output) for name, _, output in recorder.calls}
    full["final_conv"] = zyx(scene)
    return scene


def _words(
    case: Case, model: LangOcc, scene: Tensor, reduced: nn.Module, reducer: ClipReducer
) -> dict[str, Tensor]:
    """Density, vectors and classes of all voxels, and the reduced variant at some."""
    features = scene[0].movedim(0, -1)
    logit = model.density_head(features)[..., 0]
    density = logit.sigmoid()
    embeddings = torch.from_numpy(case.stored["class_embeddings"])
    vocabulary = load_vocabulary("occ3d_v1")
    head = model.language_head
    hidden = head.hidden(features)
    labels = fold_prompts(head, embeddings, vocabulary.ids()).classify(hidden)
    averaged = fold_prompts(head, *vocabulary.class_means(embeddings)).classify(hidden)
    cut = told_index(case.spec["tensors"]["language_raw"]["slice"])
    raw, some = head[-1](hidden[cut]), features[cut]
    raw_reduced, few = reduced(some), reducer(embeddings)
    prompts = fold_prompts(reduced, few, vocabulary.ids())
    thresholds = case.numbers(r"density below ([\d., ]+)", "outputs.free_space_counts")
    sampled = {
        "language_raw": raw,
        "language_unit": F.normalize(raw, dim=-1),
        "reduced_language_raw": raw_reduced,
        "reduced_language_unit": F.normalize(raw_reduced, dim=-1),
        "voxel_feature_samples": some,
    }
    return {
        "density_logit": logit[::4, ::4],
        "density": density,
        "free_space_counts": torch.stack([(density < t).sum() for t in thresholds]),
        "labels": labels,
        "labels_avg_mode": averaged,
        "occupancy_at_0.1": torch.where(density < CONFIG.free_below, FREE, labels),
        **{name: _uncut(case, name, tensor) for name, tensor in sampled.items()},
        "reduced_class_embeddings": few,
        "reduced_labels": prompts.classify(reduced.hidden(some)),
    }


def _uncut(case: Case, name: str, tensor: Tensor) -> Tensor:
    """A tensor that is already cut as the case tells, spread so that the cut finds it again."""
    shape = case.spec["tensors"][name]["shape"]
    if tuple(tensor.shape) == tuple(shape) or tensor.shape[:3] == tuple(shape[:3]):
        return tensor
    spread = tensor.new_zeros(1).expand(shape).clone()
    spread[told_index(case.spec["tensors"][name]["slice"])] = tensor
    return spread


DOWNSTREAM = (
    "pre_process_key",
    "enc0",
    "enc1",
    "enc2",
    "enc_neck",
    "final_conv",
    "density_logit",
    "density",
    "language_raw",
    "language_unit",
    "reduced_language_raw",
    "reduced_language_unit",
    "voxel_feature_samples",
)
UPSTREAM = (
    "cost_volume_adj",
    "depth_net_adj",
    "depth_prob_adj",
    "stereo_ref_oldest",
    "backbone_c2_key",
    "backbone_c4_key",
    "backbone_c5_key",
    "neck_key",
    "reduce_conv_key",
    "cost_volume_net_key",
    "cost_volume_key",
    "depth_net_key",
    "depth_prob_key",
    "lift_adj_bevsum",
    "lift_key_bevsum",
)
GEOMETRY = ("sensor2keyego", "cur2adj", "mlp_", "frustum_ego")
STATISTICS = tuple(
    f"tensors.{name}.{kind}" for name in (*UPSTREAM, *DOWNSTREAM[:8]) for kind in ("mean", "std")
)


def forward_rule(case: Case, name: str) -> Rule:
    """The tolerance of every kind of array, from the case's text."""

    def told(key: str, pattern: str) -> list[float]:
        return [float(n) for n in re.search(pattern, case.spec["tolerance"][key]).groups()]

    told_stats: Mapping[str, float] = case.spec["tensors"].get(name, {})
    if name.startswith("tensors."):
        (percent,) = told("downstream", r"mean/std within (\d+) %")
        spread = case.spec["tensors"][name.split(".")[1]]["std"]
        return close(percent / 100, percent / 100 * spread)
    if name == "stereo_grid_key":
        limit, near = told("geometry", r"([\d.e-]+) for stereo_grid where \|value\| < (\d+)")
        return _near_values(limit, near)
    if name.startswith(GEOMETRY):
        (limit,) = told("geometry", r"absolute ([\d.e-]+)")
        return mostly(1.0, limit, 1e-5)
    if name.endswith("_nonempty"):
        return close(told("lift", r"nonempty within ([\d.]+) %")[0] / 100)
    if name == "free_space_counts":
        return close(told("labels", r"free_space_counts within ([\d.]+) %")[0] / 100)
    if name.startswith(("labels", "occupancy", "reduced_labels")):
        return mostly(told("labels", r">= ([\d.]+) % equal")[0] / 100, 0)
    if name.startswith("lift_"):
        percent, share = told("lift", r">= ([\d.]+) % of entries within ([\d.e-]+)\*absmax")
    elif name in DOWNSTREAM:
        percent, share = told("downstream", r">= ([\d.]+) % within ([\d.e-]+)\*absmax")
    else:
        share, percent = told("default", r"<= ([\d.e-]+)\*absmax for >= ([\d.]+) %")
    largest = told_stats.get("absmax", np.abs(case.stored[name].astype(np.float64)).max())
    return mostly(percent / 100, share * float(largest))


def _near_values(limit: float, near: float) -> Rule:
    """Close where the value is small; elsewhere it is outside of the map anyway."""

    def rule(ours: Array, reference: Reference) -> str | None:
        close_by = np.abs(reference.values) < near
        worst = float(np.abs(ours - reference.values)[close_by].max())
        return None if worst <= limit else f"max diff {worst:.3g} among the near values"

    return rule


CASES = {
    "forward_full": Check(
        forward_full,
        forward_rule,
        inputs=frozenset(
            {
                "in_sensor2egos",
                "in_ego2globals",
                "in_intrins",
                "in_post_rot",
                "in_post_tran",
                "in_bda",
                "class_embeddings",
            }
        ),
        also=STATISTICS,
        heavy=True,
    )
}
