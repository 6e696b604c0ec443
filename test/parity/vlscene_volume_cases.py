"""Adapters of VLScene's volume half: sparse U-Net and head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from occ_perception.systems.vlscene.checkpoint import relayout_official, rename_official
from occ_perception.systems.vlscene.gssa import SparseUNet
from occ_perception.systems.vlscene.head import OccupancyHead, PointHead
from parity.cases import Case, Weights, normal
from parity.compare import Array, Check, Outputs, Rule, exact, of_std

# The published grid (spec 2.1); a case's own grid has fewer voxels in the same range.
_LOWER_M, _UPPER_M = (0.0, -25.6, -2.0), (51.2, 25.6, 4.4)


def rule_from_text(case: Case, name: str) -> Rule:
    """`max|diff| <= 1e-3*std` as the case says it for numbers, equality for integers."""
    if name not in case.stored or case.stored[name].dtype.kind in "iub":
        return exact
    (limit,) = case.numbers(r"([\d.e-]+)\*std", "tolerance")
    return of_std(limit)


def filled(module: nn.Module, prefix: str, weights: Weights, official: str) -> nn.Module:
    """A module of ours with the case's weights.

    Args:
        module: Any part of the network.
        prefix: Its place in the whole network, ending in a dot.
        weights: The case's weights.
        official: Prefix of the official entries that it needs.
    """
    state = {
        rename_official(key): relayout_official(key, tensor)
        for key, tensor in weights.official(official).items()
    }
    ours = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    module.load_state_dict(ours, strict=True)
    return module.eval()


class Recorder:
    """Keeps what named submodules return, in the order in which they run."""

    def __init__(self) -> None:
        self.seen: dict[str, Tensor] = {}

    def watch(
        self, module: nn.Module, name: str, view: Callable[[object], Tensor] = lambda x: x
    ) -> None:
        """Record `view(output)` of a module under a name."""
        module.register_forward_hook(
            lambda _module, _inputs, output: self.seen.__setitem__(name, view(output))
        )


def gssa_small(case: Case, weights: Weights) -> Outputs:
    """The sparse U-Net on a small grid with holes."""
    x = normal(case.rng(), case.integers(r"standard_normal \(([\d,]+)\)"))
    cut_y, cut_x, cut_z = (
        case.integers(pattern)[0]
        for pattern in (r"\[:,:,:,(\d+):,:\]=0", r"\[0,:,(\d+):\]=0", r"\[1,:,:,:,(\d+):\]=0")
    )
    x[:, :, :, cut_y:, :] = 0
    x[0, :, cut_x:] = 0
    x[1, :, :, :, cut_z:] = 0
    net = filled(SparseUNet(backend="dense"), "sparse_unet.", weights, "sparse_unet.")
    recorder = Recorder()
    recorder.watch(net.spread, "pre")
    stages = {
        "ctx": net.context,
        "res2": net.encode_full,
        "pool2": net.pool_half,
        "pool3": net.pool_quarter,
        "up2": net.decode_half,
        "up3": net.decode_full,
        "recon": net.gate,
    }
    active = {}
    for name, module in stages.items():
        recorder.watch(module, name, lambda volume: volume.dense())
        module.register_forward_hook(
            lambda _m, _i, volume, name=name: active.__setitem__(name, volume.mask[:, 0])
        )
    out = net(x)
    return {
        **recorder.seen,
        "out": out,
        "active_bits": np.packbits(active["ctx"].numpy()),
        "n_active": np.array([int(active[name].sum()) for name in ("ctx", "pool2", "pool3")]),
    }


def head_small(case: Case, weights: Weights) -> Outputs:
    """The head with its point branch, both samples with points of their own."""
    rng = case.rng()
    x = normal(rng, case.integers(r"\bx = standard_normal \(([\d,]+)\)"))
    image = normal(rng, case.integers(r"img = standard_normal \(([\d,]+)\)"))
    samples = [_points(case, rng) for _ in range(len(x))]
    head = filled(OccupancyHead(), "head.", weights, "pts_bbox_head.")
    points_head = filled(
        PointHead(256, 128, 20, _LOWER_M, _UPPER_M), "point_head.", weights, "pts_bbox_head."
    )
    recorder = Recorder()
    recorder.watch(head.reduce, "occ_conv")
    recorder.watch(head.enter, "sdb_in")
    recorder.watch(head.diffuse, "mpac")
    recorder.watch(head.surround, "sdb")
    features = head(x)
    return {
        **recorder.seen,
        "logits": head.logits(features),
        "points": np.stack([points for points, _ in samples]),
        "uvd": np.stack([uvd for _, uvd in samples]),
        "point_logits": torch.stack(
            [
                points_head(
                    x[b], image[b, 0], torch.from_numpy(p[:, :3]), torch.from_numpy(uvd[:, 0])
                )
                for b, (p, uvd) in enumerate(samples)
            ]
        ),
    }


def _points(case: Case, rng: np.random.Generator) -> tuple[Array, Array]:
    size = case.integers(r"size=\((\d+,\d+)\)")
    scale, shift = case.numbers(r"\* (\[[^\]]*\])"), case.numbers(r"\+ (\[[^\]]*\])")
    low, high, count = case.integers(r"labels = rng.integers\(([\d,]+)\)")
    u_low, u_high, *uv_size = case.numbers(r"uv = rng.uniform\(([^)]*\))")
    d_low, d_high, *d_size = case.numbers(r"d = rng.uniform\(([^)]*\))")
    xyz = rng.uniform(size=size) * scale + shift
    labels = rng.integers(low, high, count)
    uv = rng.uniform(u_low, u_high, [int(n) for n in uv_size])
    d = rng.uniform(d_low, d_high, [int(n) for n in d_size])
    points = np.concatenate([xyz, labels[:, None]], axis=1).astype(np.float32)
    return points, np.concatenate([uv, d], axis=-1).astype(np.float32)


CASES = {
    "gssa_small": Check(gssa_small, rule_from_text, also=("n_active",)),
    "head_small": Check(head_small, rule_from_text),
}
