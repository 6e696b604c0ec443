"""Official checkpoints of LangOcc and our network, both ways, strictly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from occ_perception.core.errors import WeightsError
from occ_perception.core.key_pairs import KeyPairs, PairedCheckpoint
from occ_perception.systems.langocc.config import LangOccConfig
from occ_perception.systems.langocc.model import LangOcc

_DEPTH = "img_view_transformer.depth_net."
_ASPP = f"{_DEPTH}depth_conv.3.", "depth_net.depth_conv.3."
_SEQUENTIAL = (("conv", "0"), ("bn", "1"))  # official parts of a convolution and ours

NAMES = KeyPairs(
    (
        ("img_backbone.", "backbone."),
        ("img_neck.*.*.conv.", "neck.*.*."),
        (f"{_DEPTH}bn.", "depth_net.camera_norm."),
        *(
            (f"{_DEPTH}{what}_{part}.", f"depth_net.{what}_gate.{part.split('.')[1]}.")
            for what in ("depth", "context")
            for part in ("mlp.fc1", "mlp.fc2", "se.conv_reduce", "se.conv_expand")
        ),
        *(
            (f"{_ASPP[0]}aspp{i + 1}.{theirs}.", f"{_ASPP[1]}branches.{i}.{ours}.")
            for i in range(4)
            for theirs, ours in (("atrous_conv", "0"), ("bn", "1"))
        ),
        (f"{_ASPP[0]}global_avg_pool.", f"{_ASPP[1]}pool."),
        (f"{_ASPP[0]}conv1.", f"{_ASPP[1]}project.0."),
        (f"{_ASPP[0]}bn1.", f"{_ASPP[1]}project.1."),
        (f"{_DEPTH}cost_volumn_net.", "depth_net.cost_net."),
        (_DEPTH, "depth_net."),
        *(
            pair
            for theirs, ours in _SEQUENTIAL
            for pair in (
                (f"pre_process_net.layers.0.*.*.{theirs}.", f"pre_process.*.*.{ours}."),
                (
                    f"img_bev_encoder_backbone.layers.*.*.*.{theirs}.",
                    f"encoder.stages.*.*.*.{ours}.",
                ),
                (f"img_bev_encoder_neck.conv.{theirs}.", f"encoder.fuse.{ours}."),
            )
        ),
        ("final_conv.conv.", "final.0."),
        *(
            (f"{head}_decoder.layers.{3 * i}.", f"{head}_head.{2 * i}.")
            for head in ("density", "language")
            for i in range(4)
        ),
        ("reducer.U", "reducer.U"),
    )
)


def relayout(tensor: Tensor) -> Tensor:
    """3D kernels `[out, in, z, y, x]` become `[out, in, x, y, z]`, and back; the rest stays."""
    return tensor.permute(0, 1, 4, 3, 2) if tensor.ndim == 5 else tensor


class LangOccCheckpoint(PairedCheckpoint):
    """Map of official checkpoints (see `weights.convert.CheckpointMap`).

    Args:
        config: The network that the checkpoint is for; the default is the published "Full".
    """

    system = "langocc"
    labels = "occ3d_nuscenes"
    licence = "AGPL-3.0 (official code); trained on nuScenes (CC BY-NC-SA 4.0)"
    names = NAMES

    def __init__(self, config: LangOccConfig | None = None) -> None:
        super().__init__(config or LangOccConfig())

    def network(self) -> LangOcc:
        """The module that the checkpoint fills."""
        return LangOcc(self._config)

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """An official entry in our layout, or one of ours in the official one (a view)."""
        return relayout(tensor)


@dataclasses.dataclass(frozen=True)
class AdoptReport:
    """What a network took over from a checkpoint of a relative.

    Attributes:
        adopted: Entries that were copied, by our name.
        misshapen: Official entries of another size, with both shapes.
        unknown: Official entries that this network does not have.
        untouched: Our entries that keep their initial values.
    """

    adopted: tuple[str, ...]
    misshapen: tuple[str, ...]
    unknown: tuple[str, ...]
    untouched: tuple[str, ...]

    def __str__(self) -> str:
        """The counts in one sentence, with the first few entries that did not fit."""
        return (
            f"{len(self.adopted)} entries adopted, {len(self.misshapen)} of another size "
            f"({'; '.join(self.misshapen[:3])}), {len(self.unknown)} without a counterpart, "
            f"{len(self.untouched)} of ours keep their initial values"
        )


def adopt_bevdet(network: LangOcc, official: Mapping[str, Tensor]) -> AdoptReport:
    """Start a training from BEVDet's weights, as published: whatever fits is copied.

    Args:
        network: Is changed in place.
        official: State dict of `bevdet-r50-4d-stereo-cbgs.pth`.

    Raises:
        WeightsError: Nothing at all fits, so it is a checkpoint of something else.
    """
    state = network.state_dict()
    adopted, misshapen, unknown = [], [], []
    for key, tensor in official.items():
        name = NAMES.rename(key)
        if name not in state:
            unknown.append(key)
        elif state[name].shape != relayout(tensor).shape:
            misshapen.append(f"{key} {list(tensor.shape)}, here {list(state[name].shape)}")
        else:
            state[name].copy_(relayout(tensor))
            adopted.append(name)
    if not adopted:
        raise WeightsError("no entry of the checkpoint fits LangOcc; is it BEVDet's?")
    untouched = sorted(set(state) - set(adopted))
    return AdoptReport(*(tuple(names) for names in (adopted, misshapen, unknown, untouched)))
