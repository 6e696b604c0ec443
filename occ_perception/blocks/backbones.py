"""Image backbones: thin builders over timm, without downloaded weights."""

from __future__ import annotations

from collections.abc import Sequence

import timm
from jaxtyping import Float
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from occ_perception.core.errors import ConfigError


def build_backbone(
    name: str,
    levels: Sequence[int],
    widths: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    output_stride: int | None = None,
) -> nn.Module:
    """A randomly initialised timm feature extractor: images `[B, 3, H, W]` to a list of maps.

    Args:
        name: timm's model name, e.g. "repvit_m2_3".
        levels: Indices of the stages whose maps come out, finest first.
        widths: Channels per stage instead of the published ones (convolutional models only).
        depths: Blocks per stage instead of the published ones.
        output_stride: Largest stride; later stages are dilated instead (ResNets only).

    Raises:
        ConfigError: timm knows no such model, or it cannot be built with these widths.
    """
    width, depth = ("channels", "layers") if name.startswith("resnet") else ("embed_dim", "depth")
    options = {width: widths, depth: depths}
    changed: dict[str, object] = {k: tuple(v) for k, v in options.items() if v is not None}
    if output_stride is not None:
        changed["output_stride"] = output_stride
    if not timm.is_model(name):
        raise ConfigError(f"backbone '{name}' is not a timm model; see timm.list_models()")
    try:
        return timm.create_model(
            name, pretrained=False, features_only=True, out_indices=tuple(levels), **changed
        )
    except TypeError as error:
        raise ConfigError(f"backbone '{name}' does not take {sorted(changed)}") from error


def feature_channels(backbone: nn.Module) -> list[int]:
    """Channels of the maps that a backbone of `build_backbone` returns, finest first."""
    return list(backbone.feature_info.channels())


class VisionTransformer(nn.Module):
    """A timm ViT that answers with feature maps instead of a class.

    Args:
        name: timm's model name, e.g. "vit_base_patch8_224.dino".
        image_size: Height and width of its images, pixels; fixes the position table.
        blocks: Blocks whose outputs are wanted.
        depth: Number of blocks instead of the published one.
        patch: Edge length of a patch instead of the published one, pixels.

    Raises:
        ConfigError: timm knows no such ViT.
    """

    def __init__(
        self,
        name: str,
        image_size: tuple[int, int],
        blocks: Sequence[int],
        depth: int | None = None,
        patch: int | None = None,
    ) -> None:
        super().__init__()
        if not (timm.is_model(name) and name.startswith("vit_")):
            raise ConfigError(f"'{name}' is not a ViT of timm; see timm.list_models('vit_*')")
        changed = {"depth": depth, "patch_size": patch}
        options = {key: value for key, value in changed.items() if value is not None}
        self.vit = timm.create_model(
            name, pretrained=False, num_classes=0, img_size=image_size, **options
        )
        self.blocks = tuple(blocks)

    @property
    def channels(self) -> int:
        """Channels of every map."""
        return int(self.vit.embed_dim)

    def raw_and_final(
        self, image: Float[Tensor, "b 3 h w"]
    ) -> tuple[list[Float[Tensor, "b c _ _"]], Float[Tensor, "b c _ _"]]:
        """Raw outputs of the chosen blocks, and the last block's behind the final norm."""
        if self.blocks:
            tokens, maps = self.vit.forward_intermediates(image, indices=list(self.blocks))
        else:
            tokens, maps = self.vit.forward_features(image), []
        rows, columns = self.vit.patch_embed.dynamic_feat_size(image.shape[-2:])
        patches = tokens[:, self.vit.num_prefix_tokens :].mT
        return maps, patches.unflatten(2, (rows, columns))

    def normed(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b c _ _"]]:
        """Outputs of the chosen blocks, each behind the final norm; later blocks do not run."""
        return self.vit.forward_intermediates(
            image, indices=list(self.blocks), norm=True, stop_early=True, intermediates_only=True
        )

    def with_class_token(
        self, image: Float[Tensor, "b 3 h w"]
    ) -> list[tuple[Float[Tensor, "b c _ _"], Float[Tensor, "b 1 c"]]]:
        """Raw outputs of the chosen blocks, each with its class token; later blocks do not run."""
        return self.vit.forward_intermediates(
            image,
            indices=list(self.blocks),
            return_prefix_tokens=True,
            stop_early=True,
            intermediates_only=True,
        )


def resample_positions(
    table: Float[Tensor, "1 n c"],
    old_grid: tuple[int, int],
    new_grid: tuple[int, int],
    prefix_tokens: int = 1,
) -> Float[Tensor, "1 m c"]:
    """A ViT's position table for another grid of patches (bicubic, antialiased).

    Args:
        table: Positions of the prefix tokens, then of the patches, row-major.
        old_grid: Rows and columns of the table's grid.
        new_grid: Rows and columns that are wanted.
        prefix_tokens: Tokens before the patches; they stay as they are.
    """
    return resample_abs_pos_embed(table, list(new_grid), list(old_grid), prefix_tokens)


def first_map(backbone: nn.Module, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c mh mw"]:
    """Only the finest map of a ResNet of `build_backbone`; later stages are not computed."""
    last = backbone.feature_info.module_name()[0]
    x = images
    for name, module in backbone.items():
        x = module(x)
        if name == last:
            break
    return x
