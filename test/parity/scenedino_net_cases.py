"""Adapters of SceneDINO's networks: encoding, point queries, rendering and grids."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.blocks.fields.projection import read_taps
from occ_perception.blocks.fields.view_colours import sample_views
from occ_perception.geometry.rays import Rays, centre_grid, rays_through
from occ_perception.rendering.volume import expected, fixed_jitter
from occ_perception.systems.scenedino.checkpoint import SceneDinoCheckpoint, TargetCheckpoint
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.semantic_head import SemanticHead, SemanticMode
from occ_perception.systems.scenedino.targets import FeatureTargets
from occ_perception.weights.convert import convert_state
from parity.cases import Array, Case, Weights
from parity.compare import Check, Reference, Rule, absolute, agreeing, exact
from parity.field_tools import close, eye_pose
from parity.vlscene_image_cases import recorded

CONFIG = SceneDinoConfig()
SIZE = CONFIG.input_size
VITS = {"encode": "manifest", "encode_dinov2": "manifest_dinov2"}


def noise_image(seed: int, size: tuple[int, int] = SIZE) -> Tensor:
    """The fixtures' picture, `[3, H, W]`, -1..1."""
    rng = np.random.Generator(np.random.PCG64(seed))
    height, width = size
    low = rng.standard_normal((3, height // 16, width // 16))
    high = rng.standard_normal((3, height, width))
    blocks = np.repeat(np.repeat(low, 16, axis=1), 16, axis=2)
    return torch.from_numpy(np.tanh(0.6 * blocks + 0.3 * high).astype(np.float32))


class SceneWeights(Weights):
    """Weights of either published model, with the manifest's fixed entries."""

    def __init__(self, case: Case, manifest: str = "manifest") -> None:
        super().__init__(case.folder, case.salt)
        if manifest != "manifest":
            import json

            text = (case.folder / f"{manifest}.json").read_text(encoding="utf-8")
            self.manifest = json.loads(text)
            self.scale = self.manifest["scale"]
        self.constants = frozenset((*self.manifest["keep"], *self.manifest["fixed"]))

    def model(self, config: SceneDinoConfig = CONFIG) -> SceneDino:
        """The filled network in eval mode."""
        return self._fill(SceneDino(config), SceneDinoCheckpoint(config))

    def targets(self, config: SceneDinoConfig = CONFIG) -> FeatureTargets:
        """The filled targets in eval mode."""
        return self._fill(FeatureTargets(config), TargetCheckpoint(config))

    def semantics(self) -> SemanticHead:
        """The filled semantic head alone."""
        head = SemanticHead(CONFIG.feature_channels, CONFIG.code_channels, CONFIG.classes)
        fixed = {key: torch.tensor(value) for key, value in self.manifest["fixed"].items()}
        official = self.official("renderer.net.downstream_head.") | fixed
        checkpoint = SceneDinoCheckpoint()
        state = {
            str(checkpoint.rename(key)).removeprefix("semantics."): checkpoint.relayout(key, value)
            for key, value in official.items()
        }
        head.load_state_dict(state)
        return head

    def _fill(self, module: Any, checkpoint: SceneDinoCheckpoint) -> Any:
        fixed = {key: torch.tensor(value) for key, value in self.manifest["fixed"].items()}
        state, _ = convert_state(checkpoint, self.official() | fixed, "manifest")
        module.load_state_dict(state)
        return module.eval()


def scene_inputs(case: Case) -> tuple[Tensor, Tensor]:
    """Image and intrinsics of the case, or of the `encode` case it refers to."""
    inputs = case.spec["inputs"]
    if "image" not in inputs:
        inputs = Case(case.folder, "encode").spec["inputs"]
    return noise_image(inputs["SEED"], (inputs["h"], inputs["w"])), torch.tensor(inputs["K"])


@cache
def _encoded(case: Case) -> tuple[SceneDino, Tensor, Tensor, EncodedView]:
    model = SceneWeights(case).model()
    image, K = scene_inputs(case)
    maps = model.encoder(image[None])
    trunk = model.decoder.trunk(maps)
    embedding = model.decoder.output(trunk)
    hidden = model.field.hidden_map(trunk, model.decoder.output)
    return model, image[None], embedding, EncodedView(hidden, eye_pose(), K[None])


class Scene:
    """The encoded scene that several cases ask."""

    def __init__(self, case: Case) -> None:
        with torch.no_grad():
            key = Case(case.folder, "encode")
            self.model, self.image, self.embedding, self.view = _encoded(key)

    def colours(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Colours of points in the encoded image, and which lie outside."""
        images = (self.image * 0.5 + 0.5)[None]
        seen = sample_views(images, points, eye_pose()[None], self.view.K[None])
        return seen.colours[0, :, 0], seen.outside[0]


def cut_by_text(case: Case, outputs: dict[str, Any]) -> dict[str, Any]:
    """Cut arrays by the `"[0, ::16, 2::6]"` texts; a name ending in _i stands for all indices."""
    cut = dict(outputs)
    inside = ""
    for names, text in case.value("slices").items():
        if not text.startswith("same slice"):
            inside = re.search(r"\[([^\]]*)\]", text).group(1)
        slices = tuple(
            slice(*(int(b) if b.strip() else None for b in part.split(":")))
            if ":" in part
            else int(part)
            for part in inside.split(",")
        )
        for name in cut:
            if any(_stands_for(pattern.strip(), name) for pattern in names.split("/")):
                cut[name] = cut[name][slices]
    return cut


def _stands_for(pattern: str, name: str) -> bool:
    span = re.fullmatch(r"(.*_)(\d)\.\.(\d)", pattern)
    if span:
        stem, first, last = span.groups()
        return name.startswith(stem) and first <= name.removeprefix(stem) <= last
    stem = pattern.removesuffix("_i")
    return name == pattern or (pattern != stem and re.fullmatch(rf"{stem}_\d", name) is not None)


LAYERS = {
    "vit_patch_embed_tokens": "encoder.transformer.vit.patch_embed",
    "vit_block0_tokens_with_cls": "encoder.transformer.vit.blocks.0",
    **{f"dpt_convs_{i}": f"decoder.neck.aligns.{i}" for i in range(4)},
    **{f"dpt_fusion_{i}": f"decoder.neck.fusions.{i}" for i in range(4)},
    "dpt_project": "decoder.project",
    "dpt_output_head_0": "decoder.smooth",
    "dpt_output_head_1": "decoder.enlarge",
    "dpt_output_head_2": "decoder.output",
}


def encode(case: Case, weights: Weights) -> dict[str, Any]:
    config = CONFIG if case.name == "encode" else SceneDinoConfig.dinov2()
    filled = SceneWeights(case, VITS[case.name])
    model = filled.model(config)
    image, _ = scene_inputs(case)
    with recorded(model, LAYERS) as layers:
        maps = model.encoder(image[None])
        embedding = model.decoder(maps)
    outputs: dict[str, Any] = {name: layers[name] for name in list(LAYERS)[:2]}
    outputs |= {f"vit_feat_{i}": features for i, features in enumerate(maps)}
    outputs |= {name: layers[name] for name in list(LAYERS)[2:]}
    outputs["E"] = embedding[0]
    target = filled.targets(config).features(image[None])
    outputs["gt_features"] = target if case.name == "encode_dinov2" else target[0]
    return cut_by_text(case, outputs)


def encode_rule(case: Case, name: str) -> Rule:
    """The case's share of the full tensor's standard deviation."""
    (limit,) = case.numbers(r"([\d.e-]+) \* std of the full", "tolerance")
    return absolute(limit * case.spec["stats_mean_std_absmax"][name][1])


def query(case: Case, weights: Weights) -> dict[str, Any]:
    scene = Scene(case)
    model, view = scene.model, scene.view
    points = torch.from_numpy(case.stored["points"])[None]
    located = model.field.locate(points, view.T_cam_world, view.K, tuple(view.hidden.shape[-2:]))
    values = model.field(view.hidden, located)
    features = model.expansion(values.latent)[0]
    answers = model.semantics(features)
    colours, outside = scene.colours(points)
    return {
        "sampled_features": read_taps(scene.embedding, located.taps)[0],
        "positional_code": located.code[0],
        "outside_frustum": located.outside[0],
        "mlp_dino64": values.latent[0],
        "sigma": values.density[0],
        "rgb": colours,
        "invalid": (outside | located.outside[0, :, None]).float(),
        "dino768": features,
        "stego_code": answers.codes,
        "stego_cluster_similarity": answers.stego_clusters,
        "direct_cluster_similarity": answers.direct_clusters,
        **{f"class_{mode}": model.semantics.classes(features, mode) for mode in SemanticMode},
    }


def render(case: Case, weights: Weights) -> dict[str, Any]:
    scene = Scene(case)
    model = scene.model
    pixels = torch.from_numpy(case.stored["ray_index"]).long()
    uv = centre_grid(*SIZE).flatten(0, 1)[pixels]
    rays = rays_through(uv, scene.view.K, eye_pose())
    bounds = torch.tensor([CONFIG.near_m, CONFIG.far_m, 0.0]).expand(len(uv), 3)
    samples = case.value("inputs.n_samples")
    jitter = fixed_jitter((1, len(uv)), samples, like=uv)
    opaque = case.value("inputs.hard_alpha_cap")
    seen = model.render(scene.view, Rays(*(part[None] for part in rays)), jitter, opaque)
    colours, outside = scene.colours(seen.points.flatten(1, 2))
    colours = colours.view(1, len(uv), samples, 3)
    features = model.expansion(seen.latent)[0]
    answers = model.semantics(features)
    return {
        "rays": torch.cat([*rays, bounds, uv], dim=-1),
        "z_samps": seen.distances_m[0],
        "weights": seen.weights[0],
        "alphas": seen.opacities[0],
        "depth": seen.distance_m[0],
        "rgb": expected(seen.weights, colours)[0],
        "dino64": seen.latent[0],
        "dino768": features[:, ::4],
        "invalid": (outside.view(-1, samples) | seen.outside[0]).float(),
        "stego_cluster_similarity": answers.stego_clusters,
        "class_stego_kmeans": model.semantics.classes(features),
        "class_direct_linear": model.semantics.classes(features, SemanticMode.DIRECT_LINEAR),
    }


def where_clear(margins: Array, limit: float) -> Rule:
    """Class ids are equal wherever the best two answers differ by more than `limit`."""

    def rule(ours: Array, reference: Reference) -> str | None:
        top = np.sort(margins.astype(np.float64), axis=-1)
        clear = top[..., -1] - top[..., -2] > limit
        wrong = int(((ours != reference.values) & clear).sum())
        return f"{wrong} of {int(clear.sum())} clear classes differ" if wrong else None

    return rule


def class_rule(case: Case, name: str) -> Rule:
    """Equal classes where the stored similarities are clear; linear probes almost everywhere."""
    kind = name.removeprefix("class_").split("_")[0]
    similarity = case.stored.get(f"{kind}_cluster_similarity")
    if name.endswith("_kmeans") and similarity is not None:
        return where_clear(similarity, 0.01)
    return agreeing(0.99)


def point_rule(case: Case, name: str) -> Rule:
    """Codes absolute, densities and depths relative; behind the camera sines are chaotic."""
    if name.startswith("class_"):
        return class_rule(case, name)
    if case.stored[name].dtype == bool:
        return exact
    if name in ("sigma", "depth"):
        return close(1e-2, 1e-5)
    limit = 2e-3
    if case.stored[name].dtype == np.float16 or name in ("sampled_features", "mlp_dino64"):
        return close(1e-3, limit)
    return absolute(limit)


CASES: dict[str, Check] = {
    "encode": Check(encode, encode_rule, heavy=True),
    "encode_dinov2": Check(encode, encode_rule, heavy=True),
    "query": Check(query, point_rule, inputs=frozenset({"points"}), heavy=True),
    "render": Check(render, point_rule, inputs=frozenset({"ray_index"}), heavy=True),
}
