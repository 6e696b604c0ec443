"""MaskCLIP+ student: a segmentation network whose pixels speak CLIP's language (Zhou et al. 2022).

LangOcc was trained on its features. Only the part in front of the classifier is built.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from occ_perception.blocks.backbones import build_backbone
from occ_perception.core.key_pairs import KeyPairs

_DILATIONS = (6, 12, 18, 24)
_TAPS = 4  # cells of the feature map that two chained bilinear resizes can reach along one axis

NAMES = KeyPairs(
    (
        ("backbone.stem.7.", "backbone.bn1."),
        ("backbone.stem.", "backbone.conv1."),
        ("backbone.", "backbone."),
        ("decode_head.decode_module.aspp_modules.*.conv.", "aspp.*.0."),
        ("decode_head.decode_module.aspp_modules.*.bn.", "aspp.*.1."),
    )
)


class MaskClipStudent(nn.Module):
    """Dilated ResNet-50 with a deep stem, and the sum of four dilated convolutions.

    Args:
        channels: Width of CLIP's space.
    """

    def __init__(self, channels: int = 512) -> None:
        super().__init__()
        self.backbone = build_backbone("resnet50c", (4,), output_stride=8)
        self.aspp = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(2048, channels, 3, padding=d, dilation=d, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for d in _DILATIONS
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c mh mw"]:
        """Features at an eighth of the image's size.

        Args:
            images: RGB, normalised with ImageNet's statistics.
        """
        (deepest,) = self.backbone(images)
        return torch.stack([branch(deepest) for branch in self.aspp]).sum(dim=0)


def point_features(
    features: Float[Tensor, "c mh mw"],
    input_size: tuple[int, int],
    image_size: tuple[int, int],
    pixels: Float[Tensor, "n 2"],
) -> Float[Tensor, "n c"]:
    """Features at pixels, as if the map had been resized, normalised and then sampled.

    Officially the map is resized to the network's input, then to the image, and every pixel is
    normalised before the points are sampled: 3 GB per image. Only the four pixels around each
    point are made here, which gives the same numbers.

    Args:
        features: Feature map of one image.
        input_size: Height and width of what the network saw.
        image_size: Height and width of the image.
        pixels: Row and column; the official sampling reads half a pixel up and left of it.

    Returns:
        Vectors a little shorter than 1, because unit vectors are averaged.
    """
    at = pixels - 0.5
    corner = at.floor()
    steps = pixels.new_tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    corners = corner[:, None] + steps
    share = (1 - (at[:, None] - corners).abs()).prod(dim=-1)
    size = torch.tensor(image_size, device=pixels.device)
    share = share * ((corners >= 0) & (corners < size)).all(dim=-1)
    rows, columns = corners.long().minimum(size - 1).clamp(min=0).unbind(dim=-1)
    index_y, weight_y = _resize_taps(features.shape[1], input_size[0], image_size[0], pixels.device)
    index_x, weight_x = _resize_taps(features.shape[2], input_size[1], image_size[1], pixels.device)
    cells = index_y[rows][..., None] * features.shape[2] + index_x[columns][..., None, :]
    weights = weight_y[rows][..., None] * weight_x[columns][..., None, :]
    table = features.flatten(1).T.float().contiguous()
    cells, weights = (t.flatten(0, 1).flatten(1) for t in (cells, weights))
    vectors = F.embedding_bag(cells, table, per_sample_weights=weights, mode="sum")
    vectors = F.normalize(vectors, dim=-1).unflatten(0, share.shape)
    return (vectors * share[..., None]).sum(dim=1)


def _resize_taps(
    cells: int, between: int, pixels: int, device: torch.device
) -> tuple[Int[Tensor, "p t"], Float[Tensor, "p t"]]:
    """Which cells, and how much of each, make a pixel after two bilinear resizes of an axis."""
    identity = torch.eye(cells, device=device)[:, None]
    resized = F.interpolate(identity, size=between, mode="linear", align_corners=False)
    matrix = F.interpolate(resized, size=pixels, mode="linear", align_corners=False)[:, 0].T
    weights, index = matrix.topk(min(_TAPS, cells), dim=1)
    return index, weights
