"""Official names of the image half -> ours: regular expressions, applied in order."""

from __future__ import annotations

# RepViT's flat list of 54 blocks -> timm's stages: (stage, first block, number of blocks), and the
# stride-2 block between two stages; the block in front of that belongs to it in timm.
_STAGES = ((0, 1, 6), (1, 9, 6), (2, 17, 34), (3, 53, 2))
_DOWNSAMPLES = {1: 8, 2: 16, 3: 52}


def _backbone() -> list[tuple[str, str]]:
    rules = [(r"^img_backbone\.features\.0\.0\.", "backbone.stem.conv1.")]
    rules += [(r"^img_backbone\.features\.0\.2\.", "backbone.stem.conv2.")]
    for stage, block in _DOWNSAMPLES.items():
        ours, theirs = f"backbone.stages_{stage}.downsample", r"^img_backbone\.features\."
        rules += [
            (rf"{theirs}{block - 1}\.", f"{ours}.pre_block."),
            (rf"{theirs}{block}\.token_mixer\.0\.", f"{ours}.spatial_downsample."),
            (rf"{theirs}{block}\.token_mixer\.2\.", f"{ours}.channel_downsample."),
            (rf"{theirs}{block}\.channel_mixer\.m\.0\.", f"{ours}.ffn.conv1."),
            (rf"{theirs}{block}\.channel_mixer\.m\.2\.", f"{ours}.ffn.conv2."),
        ]
    for stage, first, count in _STAGES:
        rules += [
            (rf"^img_backbone\.features\.{first + i}\.", f"backbone.stages_{stage}.blocks.{i}.")
            for i in range(count)
        ]
    return [
        *rules,
        (r"^(backbone\..*)\.token_mixer\.0\.", r"\1.token_mixer."),
        (r"^(backbone\..*)\.token_mixer\.1\.", r"\1.se."),
        (r"^(backbone\..*)\.channel_mixer\.m\.0\.", r"\1.channel_mixer.conv1."),
        (r"^(backbone\..*)\.channel_mixer\.m\.2\.", r"\1.channel_mixer.conv2."),
    ]


IMAGE_RULES: list[tuple[str, str]] = [
    *_backbone(),
    (r"^img_neck\.(.*)\.conv\.", r"neck.\1."),
    (r"^img_view_transformer\.clip_fusion\.", "view_transformer.distillation.teacher_fusion."),
    (r"^img_view_transformer\.img_clip_fusion\.", "view_transformer.distillation.gated_fusion."),
    (r"^img_view_transformer\.img_seg_head\.", "view_transformer.distillation.seg_head."),
    (r"^img_view_transformer\.stereo_volume_net\.", "view_transformer.stereo_net."),
    (r"^img_view_transformer\.", "view_transformer."),
    # monocular depth
    (r"\.depth_net\.bn\.", ".depth_net.camera_norm."),
    (r"\.depth_net\.(context|depth)_(mlp|se)\.", r".depth_net.\1_gate."),
    (r"\.depth_conv\.3\.aspp([1-4])\.atrous_conv\.", r".depth_conv.3.branches.\1.0."),
    (r"\.depth_conv\.3\.aspp([1-4])\.bn\.", r".depth_conv.3.branches.\1.1."),
    *((rf"\.branches\.{i}\.([01])\.", rf".branches.{i - 1}.\1.") for i in (1, 2, 3, 4)),
    (r"\.depth_conv\.3\.global_avg_pool\.", ".depth_conv.3.pool."),
    (r"\.depth_conv\.3\.conv1\.", ".depth_conv.3.project.0."),
    (r"\.depth_conv\.3\.bn1\.", ".depth_conv.3.project.1."),
    # stereo; convolution, norm and activation are nested once more officially
    (r"\.feature_withcam\.depth_(mlp|se)\.", ".features.gate."),
    (r"\.feature_withcam\.depth_conv\.0\.", ".features.project."),
    (r"\.feature_withcam\.", ".features."),
    (r"\.stereo_net\.dres0\.0\.", ".stereo_net.stem.0."),
    (r"\.stereo_net\.dres0\.2\.", ".stereo_net.stem.1."),
    (r"\.stereo_net\.dres1\.0\.", ".stereo_net.residual.0."),
    (r"\.stereo_net\.dres1\.2\.", ".stereo_net.residual.1."),
    *((rf"\.stereo_net\.dres{i + 2}\.", f".stereo_net.hourglasses.{i}.") for i in range(3)),
    (r"\.stereo_net\.classif3_1\.0\.", ".stereo_net.refine."),
    (r"\.stereo_net\.classif3_2\.0\.", ".stereo_net.score."),
    # volume interaction
    (r"\.CA3D\.alpha$", ".channel_attention.alpha"),
    (r"\.CA3D\.fn\.", ".channel_attention."),
    (r"\.volume_interaction\.dres1\.", ".volume_interaction.hourglass."),
    (r"\.(hourglass|hourglasses\.\d)\.(conv[1-4])\.0\.", r".\1.\2."),
]
