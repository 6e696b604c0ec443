"""Adapters of the depth metrics, the LiDAR occupancy metrics and their ground truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from occ_perception.eval.depth_metrics import depth_scores
from occ_perception.eval.lidar_occupancy import (
    crop_depth,
    first_judged_row,
    object_cells,
    occupancy_scores,
    range_profile,
    slice_truth,
)
from parity.cases import Case, Weights
from parity.compare import Check, Rule, absolute, agreeing_bits

DEPTHS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")
ALIGNMENTS = {"None": "none", "median": "median", "l2": "least_squares"}
MAP_SHAPE, SLICE = (460, 80), (4.0, 20.0)


def depths(case: Case) -> dict[str, float]:
    truth, predicted = (torch.from_numpy(case.stored[f"depth_{n}"])[0, 0] for n in ("gt", "pred"))
    scores = {t: depth_scores(predicted, truth, ours) for t, ours in ALIGNMENTS.items()}
    scores["lowres"] = depth_scores(predicted[::2, ::2].contiguous(), truth)
    return {
        f"results.depth_{told}.{name}": getattr(score, name)
        for told, score in scores.items()
        for name in DEPTHS
    }


def occupancy(case: Case) -> dict[str, Any]:
    def cells(name: str) -> Tensor:
        bits = np.unpackbits(case.stored[name])[: np.prod(MAP_SHAPE)].reshape(MAP_SHAPE)
        return crop_depth(torch.from_numpy(bits).bool(), SLICE)

    occupied, visible, predicted = (cells(name) for name in ("occgt", "visgt", "pred"))
    occupied = occupied & ~visible
    objects = object_cells(crop_depth(torch.from_numpy(case.stored["labels"]), SLICE))
    row = first_judged_row(visible)
    assert row is not None
    far = slice(row, None)
    return {
        "results.object": torch.tensor(occupancy_scores(predicted, occupied, visible, objects)),
        "results.scene_without_cut": torch.tensor(occupancy_scores(predicted, occupied, visible)),
        "results.cut_row": torch.tensor(row),
        "results.scene": torch.tensor(
            occupancy_scores(predicted[far], occupied[far], visible[far])
        ),
    }


def lidar(case: Case) -> dict[str, Any]:
    scans = list(torch.from_numpy(case.stored["scans"]))
    poses = torch.from_numpy(case.stored["velo_poses"])
    x, z = torch.linspace(-4, 4, 80), torch.linspace(20, 4, 160)
    zz, xx = torch.meshgrid(z, x, indexing="ij")
    points = torch.stack([xx, torch.full_like(xx, 0.375), zz], dim=-1).flatten(0, 1)
    truth = slice_truth(scans, poses, points)
    profile = range_profile(scans[0], poses[0])
    return {
        "slice0": torch.stack([profile.angle_rad, profile.distance_m], dim=1),
        "lidar_occ": np.packbits(truth.occupied.numpy()),
        "lidar_vis": np.packbits(truth.visible.numpy()),
    }


def metrics(case: Case, weights: Weights) -> dict[str, Any]:
    return depths(case) | occupancy(case) | lidar(case)


def rule(case: Case, name: str) -> Rule:
    """Bins and cells on a border may flip; numbers to the case's tolerance."""
    if name == "slice0":
        return agreeing_within(case.numbers(r"at most (\d+ of \d+) bins", "tolerance"))
    if name.startswith("lidar_"):
        return agreeing_bits(1 - case.numbers(r"at most ([\d.]+) %", "tolerance")[0] / 100)
    return absolute(case.numbers(r"^([\d.e-]+)", "tolerance")[0])


def agreeing_within(told: list[float]) -> Rule:
    """All but a few rows agree to a millimetre."""
    few, rows = told

    def judged(ours: Any, reference: Any) -> str | None:
        different = (np.abs(ours - reference.values) > 1e-3).any(axis=1).sum()
        return None if different <= few else f"{different} of {rows:g} bins differ"

    return judged


CASES: dict[str, Check] = {
    "metrics": Check(
        metrics,
        rule,
        inputs=frozenset(
            {"depth_gt", "depth_pred", "occgt", "visgt", "pred", "labels", "scans", "velo_poses"}
            | {"grid"}
        ),
        also=(
            *(f"results.depth_{t}.{n}" for t in (*ALIGNMENTS, "lowres") for n in DEPTHS),
            "results.object",
            "results.scene_without_cut",
            "results.cut_row",
            "results.scene",
        ),
    )
}
