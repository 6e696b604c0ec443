"""Text-image vectors of the pixels that teach LangOcc, by MaskCLIP+ or by CLIP itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from occ_perception.core.checkpoint_rules import KeyRules, RuledCheckpoint
from occ_perception.core.errors import WeightsError
from occ_perception.systems.base import Precision, autocast
from occ_perception.systems.langocc.reducer import ClipReducer
from occ_perception.weights.files import describe, open_verified
from occ_perception.weights.load import load_weights
from occ_training.labels.bag_images import BagImage, BagImages
from occ_training.labels.layers import LANGUAGE, RAYS
from occ_training.labels.lidar_rays import RaySource
from occ_training.labels.maskclip_student import NAMES, MaskClipStudent, point_features
from occ_training.labels.maskclip_vit import MaskClipViT
from occ_training.labels.pretrained import frozen

_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_CLIP = (
    (122.7709383, 116.7460125, 104.09373615),
    (68.5005327, 66.6321579, 70.3231630),
)
_LONG_SIDE, _SHORT_SIDE = 2048, 1024  # the image is resized to fit, its aspect stays
_PATCH = 16
_REDUCER = "reducer.U"


@dataclass(frozen=True)
class StudentConfig:
    """The published student.

    Attributes:
        channels: Width of CLIP's space.
    """

    channels: int = 512


@dataclass(frozen=True)
class ClipConfig:
    """CLIP's ViT-B/16.

    Attributes:
        channels: Width of the tokens.
        depth: Number of blocks.
        heads: Attention heads.
        patch: Edge of a patch, pixels.
        grid: Patches along an edge of CLIP's own images.
        embedding: Width of the space shared with text.
    """

    channels: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = _PATCH
    grid: int = 14
    embedding: int = 512


@dataclass(frozen=True, eq=False)
class Reading:
    """A network as a reader of pixels.

    Attributes:
        name: Kind and identity of the weights.
        vectors: Normalised images `[1, 3, h, w]` to vectors `[1, c, h2, w2]`.
        statistics: Mean and standard deviation of the colours 0..255.
        patch: Sides of the network's input are multiples of it.
        fits: Longest and shortest side of the network's input at most.
    """

    name: str
    vectors: Callable[[Tensor], Tensor]
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    patch: int = 1
    fits: tuple[int, int] = field(default=(_LONG_SIDE, _SHORT_SIDE))

    def prepare(self, rgb: npt.NDArray[np.uint8]) -> Float[Tensor, "1 3 h w"]:
        """The network's input."""
        height, width = rgb.shape[:2]
        factor = min(self.fits[0] / max(height, width), self.fits[1] / min(height, width))
        sides = (int(side * factor + 0.5) // self.patch * self.patch for side in (width, height))
        resized = cv2.resize(rgb, tuple(sides), interpolation=cv2.INTER_LINEAR)
        mean, std = (np.array(v, np.float32) for v in self.statistics)
        return torch.from_numpy((resized - mean) / std).permute(2, 0, 1)[None]


def read_student(network: MaskClipStudent, sha256: str, device: torch.device | str) -> Reading:
    """The MaskCLIP+ student, which the published targets are from."""
    net = frozen(network, device)
    return Reading(f"maskclip+ {sha256[:12]}", net, _IMAGENET)


def read_clip(network: MaskClipViT, sha256: str, device: torch.device | str) -> Reading:
    """CLIP's own image encoder: needs no other weights, but is noisier."""
    net = frozen(network, device)
    patch = network.patch_embed.kernel_size[0]
    return Reading(f"maskclip {sha256[:12]}", lambda x: net(x).vectors, _CLIP, patch)


def load_reading(path: Path, device: torch.device | str = "cpu") -> Reading:
    """Either network from a converted file.

    Raises:
        WeightsError: The file is missing, damaged or of another model.
    """
    info = describe(path)
    if info.system == ClipCheckpoint.system:
        clip = MaskClipViT(**info.config)
        return read_clip(clip, load_weights(clip, path, info.system).sha256, device)
    student = MaskClipStudent(int(info.config.get("channels", StudentConfig().channels)))
    sha256 = load_weights(student, path, StudentCheckpoint.system).sha256
    return read_student(student, sha256, device)


def load_reducer(path: Path) -> ClipReducer:
    """The reducer of converted weights of LangOcc Reduced.

    Raises:
        WeightsError: The file is damaged, or has no reducer.
    """
    _, archive = open_verified(path)
    if _REDUCER not in archive.keys():  # noqa: SIM118  (no mapping)
        raise WeightsError(f"'{path.name}' has no reducer: give weights of LangOcc Reduced")
    U = archive.get_tensor(_REDUCER).float()
    reducer = ClipReducer(*U.shape)
    reducer.load_state_dict({"U": U})
    return reducer


class LanguageRays:
    """Vectors of the pixels that LiDAR points fall on; nothing else of a picture is kept.

    Args:
        reading: Whom to ask.
        rays: Which pixels.
        reducer: Keep vectors in this subspace (LangOcc Reduced): a quarter of the space.
        device: Where the network runs.
        precision: Of the network.
    """

    def __init__(
        self,
        reading: Reading,
        rays: RaySource | None = None,
        reducer: ClipReducer | None = None,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self._reading, self._rays = reading, rays or RaySource()
        self._reducer = None if reducer is None else frozen(reducer, device)
        self._device, self._precision = torch.device(device), precision
        self.name = reading.name if reducer is None else f"{reading.name} in {_space(reducer)}"

    @torch.no_grad()
    def __call__(self, image: BagImage, bag: BagImages) -> dict[str, npt.NDArray[np.generic]]:
        """Pixels with depth `[1, n, 3]` float32, and their vectors `[1, n, c]` float16."""
        rays = self._rays.rays(image, bag)
        given = self._reading.prepare(image.rgb).to(self._device)
        with autocast(self._device, self._precision):
            maps = self._reading.vectors(given)[0]
        pixels = torch.from_numpy(rays[:, :2]).to(self._device)
        vectors = point_features(maps.float(), given.shape[2:], image.rgb.shape[:2], pixels)
        if self._reducer is not None:
            vectors = self._reducer(vectors)
        return {RAYS: rays[None], LANGUAGE: vectors.half().cpu().numpy()[None]}


def _space(reducer: nn.Module) -> str:
    channels, reduced = reducer.U.shape
    return f"{reduced} of {channels} channels {float(reducer.U.double().sum()):.6f}"


class StudentCheckpoint(RuledCheckpoint):
    """Map of `maskclip_plus_vit16_deeplabv2_r101-d8_512x512_8k_coco-stuff164k.pth`.

    Despite its name it holds a ResNet of 50 layers; one of 101 is refused, its entries are unknown.
    """

    system = "maskclip_plus"
    labels = "clip"
    licence = "Apache-2.0 (code); check the weights' repository before redistributing"
    rules = KeyRules(
        renames=(),
        drops={
            r"^auxiliary_head\.": "head of its own training",
            r"^decode_head\.(?!decode_module\.aspp_modules\.)": "classifier and its own teacher",
        },
    )

    def __init__(self, config: StudentConfig | None = None) -> None:
        super().__init__(config or StudentConfig())

    def network(self) -> nn.Module:
        """The student."""
        return MaskClipStudent(self._config.channels)

    def rename(self, key: str) -> str | None:
        """Our name of an official entry, or None when it is not known."""
        return NAMES.rename(key)


class ClipCheckpoint(RuledCheckpoint):
    """Map of CLIP ViT-B/16 as OpenAI and open_clip name it."""

    system = "maskclip"
    labels = "clip"
    licence = "MIT (OpenAI's CLIP)"
    rules = KeyRules(
        renames=(
            (r"^visual\.class_embedding$", "cls_token"),
            (r"^visual\.positional_embedding$", "pos_embed"),
            (r"^visual\.conv1\.", "patch_embed."),
            (r"^visual\.ln_pre\.", "norm_before."),
            (r"^visual\.ln_post\.", "norm_after."),
            (r"^visual\.proj$", "project.weight"),
            (r"^visual\.transformer\.resblocks\.(\d+)\.ln_([12])\.", r"blocks.\1.norm\2."),
            (r"^visual\.transformer\.resblocks\.(\d+)\.attn\.", r"blocks.\1.attention."),
            (r"^visual\.transformer\.resblocks\.(\d+)\.mlp\.c_fc\.", r"blocks.\1.mlp.0."),
            (r"^visual\.transformer\.resblocks\.(\d+)\.mlp\.c_proj\.", r"blocks.\1.mlp.2."),
        ),
        drops={r"^(?!visual\.)": "CLIP's text side, and sizes"},
    )

    def __init__(self, config: ClipConfig | None = None) -> None:
        super().__init__(config or ClipConfig())

    def network(self) -> nn.Module:
        """CLIP's image encoder with dense output."""
        return MaskClipViT(**self.config())

    def relayout(self, key: str, tensor: Tensor) -> Tensor:
        """CLIP keeps tokens and positions without a batch, and projects from the right."""
        if key == "visual.class_embedding":
            return tensor[None, None]
        if key == "visual.positional_embedding":
            return tensor[None]
        return tensor.T[..., None, None] if key == "visual.proj" else tensor
