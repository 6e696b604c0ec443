"""Scores of LangOcc during its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from occ_perception.blocks.surround_input import fit_image, shrunk_size
from occ_perception.eval.occ3d import Occ3DMetric
from occ_perception.systems.langocc.heads import FoldedPrompts, fold_prompts
from occ_perception.systems.langocc.model import LangOcc
from occ_perception.text.embeddings import TextEmbeddings
from occ_perception.text.vocabulary import load_vocabulary
from occ_training.data.surround import SurroundDrives, SurroundSpec
from occ_training.recipes.langocc import LangOccPreset, vocabulary_embeddings
from occ_training.recipes.langocc_data import key_frames

_VOXELS, _MASK = "voxels", "mask"


class Validation:
    """IoU and mIoU of Occ3D inside the camera mask, over bags that were not trained on.

    Args:
        preset: Network and topics.
        bags: Bags with voxel truth.
        every: Only every n-th key frame.
    """

    def __init__(self, preset: LangOccPreset, bags: Sequence[Path], every: int = 4) -> None:
        self._config, topics = preset.network, preset.training.topics
        layers = {_VOXELS: "/ground_truth/voxels", _MASK: "/ground_truth/camera_mask"}
        spec = SurroundSpec(
            self._config.cameras,
            layers=layers,
            reference=topics.reference,
            base_frame=self._config.frame_id,
            world_frame=topics.world_frame,
        )
        self._drives, self._every = SurroundDrives(bags, spec), every
        self._words: TextEmbeddings = vocabulary_embeddings(preset)

    @torch.no_grad()
    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Scores 0..1."""
        network.eval()
        device = next(network.parameters()).device
        metric, prompts = Occ3DMetric(), self._prompts(network)
        for index in range(0, len(self._drives), self._every):
            drive, key = self._drives.place_of(index)
            width, size = self._config.source_width, self._config.input_size
            fits = [fit_image(*shrunk_size(*s, width), size) for s in drive.sizes(key)]
            images, geometry = key_frames(drive, key, fits, torch.eye(3), width)
            # In training the network's own answer is what is rendered.
            scene = LangOcc.forward(network, images[None].to(device), network.plan(geometry))
            labels = network.predict(scene, prompts).labels[0].cpu()
            truth, mask = (drive.layer(name, key) for name in (_VOXELS, _MASK))
            metric.update(labels, torch.from_numpy(truth.labels), torch.from_numpy(mask.known))
        result = metric.result()
        return {"iou": result.iou / 100, "miou": result.miou / 100}

    def _prompts(self, network: LangOcc) -> FoldedPrompts:
        vectors = self._words.vectors.to(network.language_head[-1].weight)
        vectors = vectors if network.reducer is None else network.reducer(vectors)
        ids = load_vocabulary(self._config.vocabulary).ids()
        return fold_prompts(network.language_head, vectors, ids)
