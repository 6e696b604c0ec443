"""Adapters of ViPOcc's networks: one image, and one training step."""

from __future__ import annotations

import ast
import re

import numpy as np
import torch
from torch import Tensor

from occ_perception.blocks.fields.pixel_field import EncodedView
from occ_perception.blocks.fields.projection import read_taps
from occ_perception.blocks.fields.view_colours import sample_views
from occ_perception.geometry.rays import Rays, corner_grid, rays_through, z_per_distance
from occ_perception.rendering.volume import expected, fixed_jitter
from occ_perception.systems.vipocc.checkpoint import RULES
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc, occupied_cells
from parity.cases import Array, Case, Weights
from parity.compare import Check, Rule, agreeing_bits, exact
from parity.field_tools import close, cut_as_told, eye_pose, filled, told_cut
from parity.vlscene_image_cases import recorded

CONFIG = ViPOccConfig()
SIZE = CONFIG.input_size


def wave_image(seed: float, noise: float) -> Tensor:
    """The fixtures' picture: sums of sines with noise, `[3, H, W]`, -1..1."""
    rng = np.random.Generator(np.random.PCG64(int(seed)))
    v = np.arange(SIZE[0])[:, None] / SIZE[0]
    u = np.arange(SIZE[1])[None] / SIZE[1]
    image = np.zeros((3, *SIZE))
    for channel in image:
        for _ in range(3):
            fu, fv = rng.uniform(-8, 8), rng.uniform(-4, 4)
            phase = rng.uniform(0, 2 * np.pi)
            channel += np.sin(2 * np.pi * (fu * u + fv * v) + phase) / 3
    image = (1 - noise) * image + noise * (rng.random((3, *SIZE)) * 2 - 1)
    return torch.from_numpy(image.astype(np.float32))


def pseudo_depth(seed: int) -> Tensor:
    """The fixtures' pseudo depth, `[1, H, W]`, metres."""
    rng = np.random.Generator(np.random.PCG64(seed))
    a, b, c = rng.uniform(30, 60), rng.uniform(0, 6.28), rng.uniform(1.5, 3)
    v, u = np.arange(SIZE[0])[:, None], np.arange(SIZE[1])[None]
    depth = 32 - 26 * v / (SIZE[0] - 1) + c * np.sin(u / a + b)
    return torch.from_numpy(depth.astype(np.float32))[None]


def told_calls(case: Case, path: str) -> list[float]:
    """Numbers in the call that a text describes, e.g. "image(1001, 0.2)"."""
    return [float(n) for n in re.findall(r"[\d.]+", case.value(path).split("(", 1)[1])]


def intrinsics(weights: Weights) -> Tensor:
    """The manifest's normalised intrinsics."""
    return torch.tensor(weights.manifest["K_kitti360_normalised"])


def grid_points(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Points `[x, y, z, 3]` of three axes."""
    return torch.stack(torch.meshgrid(x, y, z, indexing="ij"), dim=-1)


def layer_names() -> dict[str, str]:
    """Stored array -> module inside `ViPOcc`."""
    maps = ("act1", "layer1", "layer2", "layer3", "layer4")
    dense = {f"enc_f{i}": f"density_net.features.encoder.{m}" for i, m in enumerate(maps)}
    branch = {f"rid_enc_f{i}": f"depth_net.residual.encoder.{m}" for i, m in enumerate(maps)}
    levels = {f"dec_l{i}": f"density_net.features.decoder.stages.{i}" for i in range(5)}
    return dense | branch | levels


class Scene:
    """The encoded image of a case and the ways to ask it."""

    def __init__(self, model: ViPOcc, image: Tensor, K: Tensor) -> None:
        self.net, self.image, self.K = model.density_net, image, K[None]
        self.hidden = self.net.encode(image)

    def density(self, points: Tensor, T_cam_world: Tensor | None = None) -> Tensor:
        """Densities of points `[..., 3]`."""
        T = eye_pose() if T_cam_world is None else T_cam_world[None]
        values = self.net.field.at(self.view(T), points.reshape(1, -1, 3))
        return values.density.view(points.shape[:-1])

    def view(self, T_cam_world: Tensor) -> EncodedView:
        """The encoded image with its camera."""
        return EncodedView(self.hidden, T_cam_world, self.K)

    def distance(self, uv: Tensor) -> Tensor:
        """Rendered distance at image points `[h, w, 2]` with fixed jitter."""
        rays = rays_through(uv.reshape(1, -1, 2), self.K[:, None], eye_pose()[:, None])
        jitter = fixed_jitter(rays.origins.shape[:2], CONFIG.samples, like=uv)
        rendered = self.net.render(self.view(eye_pose()), rays, jitter)
        return rendered.distance_m.view(uv.shape[:-1])


def queries(case: Case, scene: Scene) -> dict[str, Tensor]:
    """MLP input, density and colour at the case's random points."""
    text = case.value("inputs.query_points")
    seed = int(re.search(r"PCG64\((\d+)\)", text).group(1))
    low, high = (ast.literal_eval(b) for b in re.findall(r"\[[^\]]*\]", text)[:2])
    count = int(re.search(r"\((\d+),3\)", text).group(1))
    rng = np.random.Generator(np.random.PCG64(seed))
    points = torch.from_numpy(rng.uniform(low, high, (count, 3)).astype(np.float32))[None]
    field = scene.net.field
    located = field.locate(points, eye_pose(), scene.K, SIZE)
    features = read_taps(scene.net.features(scene.image), located.taps)
    seen = sample_views((scene.image * 0.5 + 0.5)[None], points, eye_pose()[None], scene.K[None])
    return {
        "q_mlp_in": torch.cat([features, located.code], dim=-1)[0, :48],
        "q_invalid_feat": located.outside[0],
        "q_sigma": field(scene.hidden, located).density[0],
        "q_rgb": seen.colours[0, :, 0],
        "q_invalid": (seen.outside | located.outside[..., None])[0],
    }


def occupancy(scene: Scene) -> dict[str, Tensor | Array]:
    """The evaluation slice, the demo voxels and the demo's bird's eye view (spec 6.1, 6.6)."""
    c, s = 0.9961947, 0.0871557
    level = torch.eye(4)
    level[:3, :3] = torch.tensor([[1, 0, 0], [0, c, s], [0, -s, c]])
    x, z = torch.linspace(-4, 4, 80), torch.linspace(20, 4, 160)
    slab = grid_points(x, torch.tensor([0.375]), z)[:, 0].transpose(0, 1)
    occ = scene.density(slab, torch.linalg.inv(level))

    x, z = torch.linspace(-4.5, 4.5, 63), torch.linspace(20, 3, 119)
    points = grid_points(x, torch.linspace(-1.5, 2.5, 25), z)
    points[..., 1] -= 0.0874886635 * points[..., 2]
    vox = scene.density(points)
    cells = occupied_cells(vox, CONFIG.occupied_density)

    points = grid_points(x, torch.linspace(0, 0.75, 25), z) @ level[:3, :3]
    bev = scene.density(points)
    located = scene.net.field.locate(points.reshape(1, -1, 3), eye_pose(), scene.K, SIZE)
    bev = torch.where(located.outside.view(bev.shape), 1.0, bev)
    return {
        "occ_sigma": occ,
        "vox_sigma": vox,
        "vox_occ_packed": np.packbits(cells.bool().numpy()),
        "bev_profile": (bev < 0.6).float().mean(dim=1).T,
    }


def rays(case: Case, scene: Scene) -> dict[str, Tensor]:
    """The ray table, rendered depth with fixed jitter, some rays with given jitter."""
    uv = corner_grid(*SIZE)
    table = rays_through(uv, scene.K, eye_pose())
    bounds = torch.tensor([CONFIG.near_m, CONFIG.far_m]).expand(*SIZE, 2)
    shown = uv[told_cut(case, "outputs.depth_dist")]
    distance = scene.distance(shown)
    step = int(re.search(r"rays\[::(\d+)\]", case.value("inputs.jitter")).group(1))
    some = Rays(*(part.reshape(1, -1, 3)[:, ::step] for part in table))
    seed = int(re.search(r"PCG64\((\d+)\)", case.value("inputs.jitter")).group(1))
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = rng.random((some.origins.shape[1], CONFIG.samples)).astype(np.float32)
    net = scene.net
    seen = net.render(scene.view(eye_pose()), some, torch.from_numpy(drawn)[None])
    images = (scene.image * 0.5 + 0.5)[None]
    colours = sample_views(
        images, seen.points.flatten(1, 2), eye_pose()[None], scene.K[None]
    ).colours
    colours = colours.view(*seen.distances_m.shape, 3)
    return {
        "rays": torch.cat([*table, bounds], dim=-1)[::32, ::64],
        "depth_dist": distance,
        "depth_z": distance * z_per_distance(shown, scene.K),
        "j_depth": seen.distance_m[0],
        "j_weights": seen.weights[0, ::4],
        "j_z": seen.distances_m[0, ::4],
        "j_rgb": expected(seen.weights, colours)[0],
    }


def net(case: Case, weights: Weights) -> dict[str, Tensor | Array]:
    model = filled(ViPOcc(CONFIG), weights, RULES)
    image = wave_image(*told_calls(case, "inputs.image"))[None]
    pseudo = pseudo_depth(int(told_calls(case, "inputs.pseudo_depth")[0]))[None]
    with recorded(model, layer_names()) as layers:
        scene = Scene(model, image, intrinsics(weights))
        aligned = model.depth_net(image, pseudo)
    outputs: dict[str, Tensor | Array] = {name: layers[name] for name in layer_names()}
    outputs["feat"] = model.density_net.features(image)
    outputs |= queries(case, scene) | occupancy(scene)
    outputs["rid_raw"] = model.depth_net.residual(image)[0, 0]
    outputs["rid_depth"] = aligned[0, 0]
    outputs["rid_depth_vis"] = model.depth_net(image, pseudo, near_only=True)[0, 0]
    return cut_as_told(case, outputs, "outputs") | rays(case, scene)


def net_rule(case: Case, name: str) -> Rule:
    """The case's relative and absolute tolerance; masks exact, cells at the threshold may flip."""
    if name == "vox_occ_packed":
        return agreeing_bits(0.999)
    if case.stored[name].dtype.kind in "iub":
        return exact
    rtol, atol = case.numbers(r"rtol ([\d.e-]+ / atol [\d.e-]+)", "tolerance")
    return close(rtol, atol)


CASES: dict[str, Check] = {"net": Check(net, net_rule, heavy=True)}
