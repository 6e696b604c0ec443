"""Official checkpoints of GaussianFlowOcc and our network, both ways, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from occ_perception.core.errors import WeightsError
from occ_perception.core.key_pairs import KeyPairs
from occ_perception.systems.gaussianflowocc.config import GaussianFlowOccConfig
from occ_perception.systems.gaussianflowocc.model import GaussianFlowOcc

_BLOCK = "gaussian_decoder.blocks.*", "decoder.blocks.*"

NAMES = KeyPairs(
    (
        ("img_backbone.", "backbone."),
        ("img_neck.*.*.conv.", "neck.*.*."),
        ("gaussian_decoder.pos_enc.", "decoder.encode."),
        (f"{_BLOCK[0]}.cross_att.", f"{_BLOCK[1]}.cross_attn."),
        (f"{_BLOCK[0]}.gaussian_rectifier.mean_head.", f"{_BLOCK[1]}.mean_head."),
        ("gaussian_decoder.", "decoder."),
        ("temporal_module.", "flow."),
        ("initial_means", "initial_means"),
        ("gaussian_queries", "gaussian_queries"),
        *((f"{name}_head.",) * 2 for name in ("semantic", "opacity", "scale", "rotation")),
    )
)
_RANGE = "gaussian_decoder.pos_enc.pc_range"


class GaussianFlowOccCheckpoint:
    """Map of official checkpoints (see `weights.convert.CheckpointMap`).

    Args:
        config: The network that the checkpoint is for; the default is the published one.
    """

    system = "gaussianflowocc"
    labels = "occ3d_nuscenes"
    licence = "AGPL-3.0 (official code); trained on nuScenes (CC BY-NC-SA 4.0)"

    def __init__(self, config: GaussianFlowOccConfig | None = None) -> None:
        self._config = config or GaussianFlowOccConfig()

    def config(self) -> Mapping[str, Any]:
        """Configuration of the network, as plain values."""
        return dataclasses.asdict(self._config)

    def grid(self) -> Mapping[str, Any]:
        """Grid of the predicted voxels, as plain values."""
        return dataclasses.asdict(self._config.grid)

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        return "counter of a batch norm" if key.endswith(".num_batches_tracked") else None

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        return NAMES.rename(key)

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """Official tensors are laid out as ours."""
        return tensor

    def check(self, official: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint of another space.

        Raises:
            WeightsError: The stored range is not the configured grid's.
        """
        grid, stored = self._config.grid, official.get(_RANGE)
        ours = torch.tensor([*grid.origin_m, *grid.upper_m])
        if stored is not None and not torch.allclose(stored.float(), ours, atol=1e-4):
            raise WeightsError(
                f"the checkpoint was trained on the range {stored.tolist()} m, configured is "
                f"{ours.tolist()} m; give the configuration it was trained with"
            )

    def wanted(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of our network."""
        with torch.device("meta"):
            state = GaussianFlowOcc(self._config).state_dict()
        return {
            name: tuple(tensor.shape)
            for name, tensor in state.items()
            if not name.endswith("num_batches_tracked")
        }

    def export(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our state as the official code would save it, counters included.

        Raises:
            WeightsError: An entry has no official name.
        """
        plain = {k: v for k, v in ours.items() if not k.endswith("num_batches_tracked")}
        return with_counters(NAMES.export(plain))


def with_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state with the counter that every batch norm of torch saves, at zero."""
    counters = {
        name.replace("running_var", "num_batches_tracked"): torch.tensor(0)
        for name in state
        if name.endswith("running_var")
    }
    return {**state, **counters}
