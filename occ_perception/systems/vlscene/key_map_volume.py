"""Official names of the volume half -> ours: regular expressions, applied in order."""

from __future__ import annotations

_STEPS = {"conv1": "0.conv", "bn0": "0.norm", "conv1_2": "1.conv", "bn0_2": "1.norm"}
_OTHER_STEPS = {"conv2": "0.conv", "bn1": "0.norm", "conv3": "1.conv", "bn2": "1.norm"}


def _plane_pair(theirs: str, ours: str, first: str, second: str) -> list[tuple[str, str]]:
    return [
        (rf"^sparse_unet\.{theirs}\.{name}\.", f"sparse_unet.{ours}.{branch}.{step}.")
        for branch, steps in ((first, _STEPS), (second, _OTHER_STEPS))
        for name, step in steps.items()
    ]


def _up_block(theirs: str, ours: str) -> list[tuple[str, str]]:
    prefix = rf"^sparse_unet\.{theirs}\."
    return [
        (rf"{prefix}trans_dilao\.", f"sparse_unet.{ours}.enter.conv."),
        (rf"{prefix}trans_bn\.", f"sparse_unet.{ours}.enter.norm."),
        (rf"{prefix}up_subm\.", f"sparse_unet.{ours}.up."),
        *((rf"{prefix}conv{i + 1}\.", f"sparse_unet.{ours}.refine.{i}.conv.") for i in range(3)),
        *((rf"{prefix}bn{i + 1}\.", f"sparse_unet.{ours}.refine.{i}.norm.") for i in range(3)),
    ]


_SPARSE = [
    (r"^sparse_unet\.pre_conv\.0\.", "sparse_unet.spread.reduce."),
    (r"^sparse_unet\.pre_conv\.2\.conv1\.", "sparse_unet.spread.wide."),
    (r"^sparse_unet\.pre_conv\.2\.conv3\.", "sparse_unet.spread.near."),
    *_plane_pair("downCntx", "context", "yz", "xz"),
    *_plane_pair("resBlock2", "encode_full", "xz", "yz"),
    *_plane_pair("resBlock3", "encode_half", "xz", "yz"),
    (r"^sparse_unet\.resBlock2\.pool\.", "sparse_unet.pool_half."),
    (r"^sparse_unet\.resBlock3\.pool\.", "sparse_unet.pool_quarter."),
    *_up_block("upBlock2", "decode_half"),
    *_up_block("upBlock3", "decode_full"),
    (r"^sparse_unet\.ReconNet\.conv1\.", "sparse_unet.gate.along_x."),
    (r"^sparse_unet\.ReconNet\.conv1_2\.", "sparse_unet.gate.along_y."),
    (r"^sparse_unet\.ReconNet\.conv1_3\.", "sparse_unet.gate.along_z."),
    (r"^sparse_unet\.ReconNet\.bn0\.", "sparse_unet.gate.norms.0."),
    (r"^sparse_unet\.ReconNet\.bn0_2\.", "sparse_unet.gate.norms.1."),
    (r"^sparse_unet\.ReconNet\.bn0_3\.", "sparse_unet.gate.norms.2."),
]

_HEAD = [
    (r"^pts_bbox_head\.occ_convs\.0\.", "head.reduce."),
    (r"^pts_bbox_head\.sdb\.conv_in\.", "head.enter."),
    (r"^pts_bbox_head\.sdb\.diffusion\.(\d)\.conv_mx\.", r"head.diffuse.\1.gates."),
    (r"^pts_bbox_head\.sdb\.diffusion\.(\d)\.conv_1x1xk\.", r"head.diffuse.\1.along_z."),
    (r"^pts_bbox_head\.sdb\.diffusion\.(\d)\.conv_1xkx1\.", r"head.diffuse.\1.along_y."),
    (r"^pts_bbox_head\.sdb\.diffusion\.(\d)\.conv_kx1x1\.", r"head.diffuse.\1.along_x."),
    (r"^pts_bbox_head\.sdb\.aspp\.reduce\.", "head.surround.reduce."),
    (r"^pts_bbox_head\.sdb\.aspp\.aspp_1\.", "head.surround.dilated.0."),
    (r"^pts_bbox_head\.sdb\.aspp\.aspp_2\.", "head.surround.dilated.1."),
    (r"^pts_bbox_head\.sdb\.aspp\.aspp_4\.", "head.surround.dilated.2."),
    (r"^pts_bbox_head\.sdb\.aspp\.fusion\.", "head.surround.fuse."),
    (r"^pts_bbox_head\.ssc_header\.mlp_head\.0\.", "head.norm."),
    (r"^pts_bbox_head\.ssc_header\.mlp_head\.1\.", "head.classify."),
    (r"^pts_bbox_head\.img_feat_reduce\.", "point_head.image_reduce."),
    (r"^pts_bbox_head\.point_soft_weights\.", "point_head.soft_weights."),
    (r"^pts_bbox_head\.point_occ_mlp\.fc1\.", "point_head.classify.0."),
    (r"^pts_bbox_head\.point_occ_mlp\.fc2\.", "point_head.classify.2."),
]

VOLUME_RULES: list[tuple[str, str]] = [*_SPARSE, *_HEAD]
