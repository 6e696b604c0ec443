"""Points read from a feature map, against the long way round."""

import torch
from torch.nn import functional as F

from occ_training.labels.maskclip_student import point_features
from occ_training.labels.maskclip_vit import MaskClipViT


def the_long_way(features, input_size, image_size, pixels):
    """Resize, resize again, normalise every pixel, sample."""
    resized = F.interpolate(features[None], size=input_size, mode="bilinear", align_corners=False)
    resized = F.interpolate(resized, size=image_size, mode="bilinear", align_corners=False)
    position = (pixels / torch.tensor(image_size) * 2 - 1).flip(-1)
    sampled = F.grid_sample(F.normalize(resized, dim=1), position[None, None], align_corners=False)
    return sampled[0, :, 0].T


def test_points_are_read_as_from_the_resized_map():
    g = torch.Generator().manual_seed(0)
    features = torch.randn(6, 8, 14, generator=g)
    pixels = torch.rand(50, 2, generator=g) * torch.tensor([55.0, 98.0])
    pixels[:3] = torch.tensor([[0.0, 0.0], [55.9, 97.9], [0.2, 60.0]])
    for input_size, image_size in (((64, 112), (56, 98)), ((40, 70), (56, 98))):
        arguments = (features, input_size, image_size, pixels)
        torch.testing.assert_close(
            point_features(*arguments), the_long_way(*arguments), rtol=1e-4, atol=1e-5
        )


@torch.no_grad()
def test_dense_values_are_local_in_the_last_block():
    """A patch's own value is not mixed with the other patches' by the last block."""
    torch.manual_seed(0)
    net = MaskClipViT(channels=24, depth=1, heads=2, patch=4, grid=3, embedding=8).eval()
    images = torch.randn(1, 3, 12, 16)
    changed = images.clone()
    changed[..., :4, :4] += 1
    before, after = net(images), net(changed)
    torch.testing.assert_close(before.vectors[..., 1:, :], after.vectors[..., 1:, :])
    assert not torch.allclose(before.vectors[..., 0, 0], after.vectors[..., 0, 0])
    assert not torch.allclose(before.tokens[..., 1:, :], after.tokens[..., 1:, :])
    assert before.vectors.shape == (1, 8, 3, 4)
    torch.testing.assert_close(before.vectors.norm(dim=1), torch.ones(1, 3, 4))
