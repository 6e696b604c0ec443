"""LSeg (Li et al., ICLR 2022), VLScene's frozen teacher: pixels in the space of CLIP's texts.

Despite its name in the checkpoint there is no CLIP image tower: the image encoder is a ViT-L/16
that LSeg has trained towards the *text* vectors of CLIP ViT-B/32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.blocks.backbones import VisionTransformer
from occ_perception.blocks.necks.dpt import DptNeck
from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.systems.base import Precision, autocast
from occ_perception.systems.vlscene.distillation import TeacherTargets
from occ_perception.text.tower import TextTower
from occ_perception.weights.load import load_weights
from occ_training.labels.teacher import OUTDOOR_CLASSES, TeacherInput

_TEMPERATURE = 0.07  # a constant of LSeg, not stored in its checkpoint
_PADDING = -1.0
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the student's images


@dataclass(frozen=True)
class LSegConfig:
    """Sizes of the demo model (`demo_e200.ckpt`) as VLScene uses it.

    Attributes:
        vit: timm's name of the transformer.
        depth: Number of its blocks, None = as published.
        blocks: Blocks whose outputs are used.
        table_side: Rows and columns of the official position table.
        image_side: Rows and columns of the network's input, pixels.
        level_channels: Channels of the decoder's levels, finest first.
        channels: Channels of the decoder.
        text_channels: Channels of the joint space.
        text_layers: Blocks of the text encoder.
        stride: Pixels of the student's image per answer.
        published_slips: Give LSeg the student's colours, and cut its features, which come at half
            resolution, with the numbers meant for full resolution: they show the image squeezed
            into the upper half, over padding. VLScene's published weights were learnt so.
    """

    vit: str = "vit_large_patch16_384"
    depth: int | None = None
    blocks: tuple[int, int, int, int] = (5, 11, 17, 23)
    table_side: int = 24
    image_side: int = 480
    level_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    channels: int = 256
    text_channels: int = 512
    text_layers: int = 12
    stride: int = 8
    published_slips: bool = True


class Readout(nn.Module):
    """Mixes the class token into every patch ("project" in DPT)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * channels, channels)

    def forward(
        self, patches: Float[Tensor, "b c h w"], token: Float[Tensor, "b 1 c"]
    ) -> Float[Tensor, "b c h w"]:
        """Patches that know of the whole image."""
        rows = patches.flatten(2).mT
        mixed = F.gelu(self.project(torch.cat([rows, token.expand_as(rows)], dim=2)))
        return mixed.mT.unflatten(2, patches.shape[2:])


class LSeg(nn.Module):
    """Image side and text side.

    Args:
        config: Sizes; the default is the published model.
    """

    def __init__(self, config: LSegConfig) -> None:
        super().__init__()
        self.config = config
        side = (config.image_side, config.image_side)
        self.encoder = VisionTransformer(config.vit, side, config.blocks, config.depth)
        self.readouts = nn.ModuleList(Readout(self.encoder.channels) for _ in config.blocks)
        self.neck = DptNeck(
            self.encoder.channels, config.level_channels, config.channels, batch_norm=True
        )
        self.to_text = nn.Conv2d(config.channels, config.text_channels, 1)
        self.text = TextTower(config.text_channels, config.text_layers)

    def padded_input(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 s s"]:
        """The student's image at LSeg's width, filled up below to a square."""
        side = self.config.image_side
        if not self.config.published_slips:
            mean, std = (image.new_tensor(v)[:, None, None] for v in (_MEAN, _STD))
            image = (image * std + mean) * 2 - 1  # ImageNet's statistics to LSeg's 0.5 and 0.5
        resized = F.interpolate(image, (self._rows(image), side), mode="bilinear")
        return F.pad(resized, (0, 0, 0, side - resized.shape[2]), value=_PADDING)

    def features(self, padded: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b t s2 s2"]:
        """Vectors in the joint space at half of the input's resolution, not normalised."""
        maps = self.encoder.with_class_token(padded)
        read = [readout(*level) for readout, level in zip(self.readouts, maps, strict=True)]
        return self.to_text(self.neck(read))

    def forward(
        self, image: Float[Tensor, "b 3 h w"], text: Float[Tensor, "k t"]
    ) -> TeacherTargets:
        """Features and class logits at the size of the student's feature map.

        Args:
            image: Left images as the student gets them.
            text: Vectors of the class names, not normalised.
        """
        features = self.features(self.padded_input(image))
        logits = torch.einsum("bchw,kc->bkhw", _unit(features), _unit(text)) / _TEMPERATURE
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=True)
        rows, slips = self._rows(image), self.config.published_slips
        size = [side // self.config.stride for side in image.shape[2:]]
        return TeacherTargets(
            F.interpolate(features[:, :, : rows if slips else rows // 2], size, mode="bilinear"),
            F.interpolate(logits[:, :, :rows], size, mode="bilinear"),
        )

    def _rows(self, image: Tensor) -> int:
        height, width = image.shape[2:]
        return int(self.config.image_side * height / width)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=1)


class LSegTeacher:
    """LSeg behind the interface of teachers: frozen, with the class names already encoded.

    Args:
        network: With weights; its text side is not needed any more afterwards.
        name: Identity of the weights.
        device: Where it runs.
        precision: Of the image side; published is fp16.
        classes: Names of the classes; the published ones by default.
    """

    def __init__(
        self,
        network: LSeg,
        name: str,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
        classes: Sequence[str] = OUTDOOR_CLASSES,
    ) -> None:
        self.name, self.classes = name, tuple(classes)
        self.channels = network.config.text_channels
        self._device, self._precision = torch.device(device), precision
        self._network = network.eval().requires_grad_(False).to(self._device)
        with torch.no_grad():
            self._text = network.text.encode(self.classes)

    @torch.no_grad()
    def __call__(self, given: TeacherInput) -> TeacherTargets:
        """Features and class logits of left images."""
        with autocast(self._device, self._precision):
            features, logits = self._network(given.image.to(self._device), self._text)
        return TeacherTargets(features.float(), logits.float())


def load_lseg(
    path: Path,
    config: LSegConfig | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "fp32",
) -> LSegTeacher:
    """The teacher from a converted checkpoint (`occ weights convert lseg demo_e200.ckpt ...`).

    Args:
        path: The converted file.
        config: Sizes; the published model by default.
        device: Where it runs.
        precision: Of the image side; published is fp16.

    Raises:
        WeightsError: The file is missing, damaged or of another model.
    """
    network = LSeg(config or LSegConfig())
    info = load_weights(network, path, system="lseg")
    return LSegTeacher(network, f"lseg {info.sha256[:12]}", device, precision)


_RULES = KeyRules(
    renames=(
        (r"^clip_pretrained\.", "text.transformer."),
        (r"^pretrained\.model\.", "encoder.vit."),
        *(
            (rf"^pretrained\.act_postprocess{i + 1}\.{theirs}\.", f"{ours}.")
            for i in range(4)
            for theirs, ours in (
                (r"0\.project\.0", f"readouts.{i}.project"),
                ("3", f"neck.projects.{i}"),
                ("4", f"neck.resizes.{i}"),
            )
        ),
        *((rf"^scratch\.layer{i + 1}_rn\.", f"neck.aligns.{i}.") for i in range(4)),
        *((rf"^scratch\.refinenet{4 - i}\.", f"neck.fusions.{i}.") for i in range(4)),
        (r"\.resConfUnit1\.", ".own."),
        (r"\.resConfUnit2\.", ".refine."),
        (r"\.bn([12])\.", r".norm\1."),
        (r"\.out_conv\.", ".project."),
        (r"^scratch\.head1\.", "to_text."),
    ),
    drops={
        r"^clip_pretrained\.visual\.": "CLIP's own image tower, unused by LSeg",
        r"^clip_pretrained\.logit_scale$": "CLIP's temperature, LSeg has a constant",
        r"^pretrained\.model\.head\.": "ImageNet classifier",
        r"^auxlayer\.|^scratch\.output_conv\.": "heads of LSeg's own training",
        r"\.refinenet4\.resConfUnit1\.": "unit of the coarsest level that nothing reaches",
    },
)
_NESTS = ("clip_net.vlseg_encoder.", "net.")


class LSegCheckpoint(RuledCheckpoint):
    """Map of `demo_e200.ckpt`, and of the teacher inside a raw VLScene checkpoint.

    Args:
        config: Sizes; the official position table is resampled for its image side.
    """

    system = "lseg"
    labels = "lseg_outdoor"
    licence = "MIT (code of LSeg); check the weights' repository before redistributing"
    rules = _RULES

    def __init__(self, config: LSegConfig | None = None) -> None:
        super().__init__(config or LSegConfig())

    def network(self) -> nn.Module:
        """The teacher."""
        return LSeg(self._config)

    def drop_reason(self, key: str) -> str | None:
        """Why an official entry is left out on purpose, or None when it is kept."""
        return super().drop_reason(_bare(key))

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        return super().rename(_bare(key))

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """Official tensors are ours, but for the positions of another image size."""
        if _bare(key) == "pretrained.model.pos_embed":
            return scaled_positions(tensor, self._config)
        return tensor


def _bare(key: str) -> str:
    for nest in _NESTS:
        key = key.replace(nest, "")
    return key


def scaled_positions(table: Float[Tensor, "1 n c"], config: LSegConfig) -> Float[Tensor, "1 m c"]:
    """Position table for LSeg's image side: bilinear, the class token's stays."""
    old, new = config.table_side, config.image_side // 16
    patches = table[:, 1:].mT.unflatten(2, (old, old)).float()
    resized = F.interpolate(patches, (new, new), mode="bilinear")
    return torch.cat([table[:, :1], resized.flatten(2).mT.to(table.dtype)], dim=1)
