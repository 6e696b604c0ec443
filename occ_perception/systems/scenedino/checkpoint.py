"""Official checkpoints of SceneDINO -> our network, strictly."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from occ_perception.blocks.backbones import resample_positions
from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_perception.systems.scenedino.model import SceneDino
from occ_perception.systems.scenedino.targets import FeatureTargets

_NET = r"^renderer\.net\."
_HEAD = r"^renderer\.net\.downstream_head\."

# What inference needs.
_MODEL_RENAMES = (
    (rf"{_NET}encoder\.encoder\.model\.vit\.", "encoder.transformer.vit."),
    (rf"{_NET}encoder\.decoder\.reassemble_blocks\.projects\.", "decoder.neck.projects."),
    (rf"{_NET}encoder\.decoder\.reassemble_blocks\.resize_layers\.", "decoder.neck.resizes."),
    (rf"{_NET}encoder\.decoder\.convs\.", "decoder.neck.aligns."),
    (rf"{_NET}encoder\.decoder\.fusion_blocks\.", "decoder.neck.fusions."),
    (r"\.res_conv_unit1\.", ".own."),
    (r"\.res_conv_unit2\.", ".refine."),
    (rf"{_NET}encoder\.decoder\.project\.", "decoder.project."),
    (rf"{_NET}encoder\.decoder\.output_head\.head_modules\.0\.", "decoder.smooth."),
    (rf"{_NET}encoder\.decoder\.output_head\.head_modules\.1\.", "decoder.enlarge."),
    (rf"{_NET}encoder\.decoder\.output_head\.head_modules\.2\.", "decoder.output."),
    (rf"{_NET}encoder\.dim_reduction\.", "expansion."),
    (rf"{_NET}heads\.normal_head\.", "field."),
    (rf"{_HEAD}stego_head\.linear_path\.0\.", "semantics.code.linear."),
    (rf"{_HEAD}stego_head\.nonlinear_path\.0\.", "semantics.code.hidden."),
    (rf"{_HEAD}stego_head\.nonlinear_path\.2\.", "semantics.code.output."),
    (rf"{_HEAD}(stego|direct)_cluster_head\.cluster_centers$", r"semantics.\1_clusters.centres"),
    (
        rf"{_HEAD}(stego|direct)_cluster_head\.pseudo_assignment$",
        r"semantics.\1_clusters.assignment",
    ),
    (rf"{_HEAD}(stego|direct)_linear_head\.linear\.", r"semantics.\1_linear."),
)
# What only stage 1 needs besides.
_TARGET_RENAMES = (
    (rf"{_NET}encoder\.gt_encoder\.model\.vit\.", "encoder.transformer.vit."),
    (rf"{_NET}encoder\.downsampler\.patch_weight$", "downsampler.gain"),
    (rf"{_NET}encoder\.downsampler\.patch_bias$", "downsampler.bias"),
    (rf"{_NET}encoder\.downsampler\.conv\.", "downsampler.salience."),
    (r"^artifact_field$", "artifacts"),
)
_ALWAYS_DROPPED = {
    rf"{_NET}code_xyz\._(freqs|phases)$": "constants of the positional code",
    r"^renderer\.renderer\.(iter_idx|last_sched)$": "counters of an unused schedule",
    r"^lpips\.": "perceptual metric of the official trainer",
}
_TARGETS = r"^artifact_field$|\.gt_encoder\.|\.downsampler\."

MODEL_RULES = KeyRules(
    _MODEL_RENAMES, _ALWAYS_DROPPED | {_TARGETS: "part of stage 1's targets, unused at inference"}
)
TARGET_RULES = KeyRules(
    _TARGET_RENAMES,
    _ALWAYS_DROPPED | {rf"^(?!.*({_TARGETS}))": "part of the network, converted on its own"},
)


class SceneDinoCheckpoint(RuledCheckpoint):
    """Map of the published `checkpoint.pt` to the network that predicts.

    Args:
        config: Sizes of the network to fill; another image size than the checkpoint's resamples
            the position table.
        trained_size: Height and width of the images that the checkpoint was trained with.
    """

    system = "scenedino"
    licence = "Apache-2.0; trained on KITTI-360 (CC BY-NC-SA 3.0)"
    rules = MODEL_RULES

    def __init__(
        self, config: SceneDinoConfig | None = None, trained_size: tuple[int, int] = (192, 640)
    ) -> None:
        super().__init__(config or SceneDinoConfig())
        self.labels = "sscbench_15" if self._config.classes else "occupancy"
        self._trained = dataclasses.replace(self._config, input_size=trained_size)

    def network(self) -> nn.Module:
        """The network that predicts."""
        return SceneDino(self._config)

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        if not self._config.classes and ".downstream_head." in key:
            return "semantic head that this configuration does not have"
        return super().drop_reason(key)

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """Pointwise convolutions of the heads become linear layers; positions are resampled."""
        if key.endswith(".pos_embed"):
            return resample_positions(tensor, self._trained.patch_grid, self._config.patch_grid)
        if tensor.dim() == 4 and (".downstream_head." in key or ".downsampler." in key):
            return tensor[..., 0, 0]
        return tensor


class TargetCheckpoint(SceneDinoCheckpoint):
    """Map of the same file to what stage 1 compares with: target ViT, downsampler, artefacts."""

    rules = TARGET_RULES

    def network(self) -> nn.Module:
        """What stage 1 needs besides."""
        return FeatureTargets(self._config)
