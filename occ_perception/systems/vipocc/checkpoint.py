"""Official checkpoints of ViPOcc and BTS -> our network, strictly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.core.errors import WeightsError
from occ_perception.systems.vipocc.config import ViPOccConfig
from occ_perception.systems.vipocc.model import ViPOcc

_LEVELS = 5

RULES = KeyRules(
    renames=(
        (r"^renderer\.net\.encoder\.encoder\.encoder\.", "density_net.features.encoder."),
        (r"^renderer\.net\.encoder\.decoder\.decoder\.", "density_net.features.decoder."),
        (r"^renderer\.net\.mlp_coarse\.", "density_net.field."),
        (r"^renderer\.net\.empty_feature$", "density_net.field.empty_feature"),
        (r"^res_inv_depth\.encoder\.encoder\.", "depth_net.residual.encoder."),
        (r"^res_inv_depth\.decoder\.decoder\.", "depth_net.residual.decoder."),
        # The official decoder is a flat list, coarsest level first: narrow, fuse, narrow, ...
        *(
            (
                rf"\.decoder\.{2 * (_LEVELS - 1 - level) + place}\.conv\.conv\.",
                rf".decoder.stages.{level}.{name}.",
            )
            for level in range(_LEVELS)
            for place, name in enumerate(("narrow", "fuse"))
        ),
        (rf"\.decoder\.{2 * _LEVELS}\.conv\.", ".decoder.output."),
    ),
    drops={
        r"^renderer\.net\.encoder\.depth_decoder\.": "second decoder that no forward pass uses",
        r"\.encoder\.encoder\.fc\.": "classifier of the ImageNet backbone",
        r"\.decoder\.decoder\.1[123]\.conv\.": "outputs of coarser scales that nobody reads",
        r"^renderer\.net\.code_xyz\._(freqs|phases)$": "constants of the positional code",
        r"^renderer\.renderer\.(iter_idx|last_sched)$": "counters of an unused schedule",
    },
)


class ViPOccCheckpoint(RuledCheckpoint):
    """Checkpoint map of one configuration; `ViPOccConfig.bts()` reads BTS files.

    Args:
        config: Sizes of the network that the checkpoint was trained with.
    """

    system = "vipocc"
    labels = "occupancy"
    licence = "ViPOcc: MIT; BTS: BSD-2-Clause; trained on KITTI-360 (CC BY-NC-SA 3.0)"

    rules = RULES

    def __init__(self, config: ViPOccConfig | None = None) -> None:
        super().__init__(config or ViPOccConfig())

    def network(self) -> nn.Module:
        """Both networks, or BTS's one."""
        return ViPOcc(self._config)

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        if not self._config.depth_branch and key.startswith("res_inv_depth."):
            return "depth branch that this configuration does not have"
        if not self._config.learn_empty and key == "renderer.net.empty_feature":
            return "feature of unseen points that this configuration does not use"
        return super().drop_reason(key)

    def check(self, official: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint whose positional code has other frequencies.

        Raises:
            WeightsError: The stored frequencies are not ours.
        """
        stored = official.get("renderer.net.code_xyz._freqs")
        octaves = self._config.field_range.octaves
        ours = 1.5 * 2.0 ** torch.arange(octaves).repeat_interleave(2)
        if stored is not None and not torch.equal(stored.float().flatten(), ours):
            raise WeightsError(
                f"the checkpoint codes positions with frequencies {stored.flatten().tolist()}, "
                f"this network with {ours.tolist()}"
            )
