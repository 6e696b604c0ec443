"""A tiny Depth Anything V2 with random weights, as transformers saves real ones."""

import torch


def write_depth_anything(folder, **changes):
    """Save one that answers in metres, up to 80; `changes` are of its configuration."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=14,
        out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
    )  # fmt: skip
    sizes = {"reassemble_hidden_size": 16, "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
    metric = {"depth_estimation_type": "metric", "max_depth": 80, "head_hidden_size": 4}
    config = DepthAnythingConfig(backbone_config=backbone, **sizes | metric | changes)
    network = DepthAnythingForDepthEstimation(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:  # the library's own start is so small that all pixels are equal
            torch.nn.init.xavier_normal_(parameter)
    network.save_pretrained(folder)
    return folder
