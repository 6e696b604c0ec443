"""SceneDINO at a size that trains in seconds, and made-up samples for it."""

from __future__ import annotations

import torch

from occ_perception.systems.scenedino.config import SceneDinoConfig
from occ_training.data.views import MultiView
from occ_training.labels.patch_features import Surfaces
from occ_training.recipes.scenedino_data import FieldBatch, InputBatch

CONFIG = SceneDinoConfig(
    input_size=(32, 64),
    vit="vit_tiny_patch16_224",
    vit_depth=4,
    blocks=(0, 1, 2),
    level_channels=(8, 8, 8, 8),
    decoder_channels=8,
    hidden_channels=16,
    latent_channels=8,
    expansion_channels=16,
    feature_channels=192,
    code_channels=8,
    samples=8,
)
K = torch.tensor([[0.8, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]])


def field_sample(number):
    """Eight views of a wall 10 m ahead, driving towards it; its class hangs on the number."""
    random = torch.Generator().manual_seed(number)
    images = torch.rand(1, 1, 3, *CONFIG.input_size, generator=random).expand(1, 8, -1, -1, -1)
    poses = torch.eye(4).repeat(1, 8, 1, 1)
    poses[..., 2, 3] = torch.arange(8.0) * 0.2
    depth = (10 - poses[..., 2, 3])[..., None, None].expand(1, 8, *CONFIG.input_size)
    classes = torch.full(depth.shape, 7 + 4 * number, dtype=torch.uint8)
    views = MultiView(images * 2 - 1, K.expand(1, 8, 3, 3), poses)
    return FieldBatch(views, Surfaces(classes, depth))


def input_sample(number):
    """A picture whose left and right halves are of different classes, told by their colours."""
    image = torch.zeros(1, 3, *CONFIG.input_size)
    image[..., :32], image[..., 32:] = 0.9 - 0.1 * number, -0.9
    labels = torch.zeros(1, *CONFIG.input_size, dtype=torch.int64)
    labels[..., 32:] = 2
    return InputBatch(image, K[None], labels)


class Samples(torch.utils.data.Dataset):
    """A few samples, many times over, so that an epoch (and its checkpoint) is long."""

    def __init__(self, make, count=2, times=50):
        self.samples = [make(number) for number in range(count)] * times

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]
