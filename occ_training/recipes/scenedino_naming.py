"""What clusters stand for: the classes of the labelled pixels in them (specification 6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from occ_perception.eval.segmentation_metrics import SegmentationMetric, assign_clusters
from occ_perception.systems.scenedino.semantic_head import ClusterHead
from occ_training.losses.clustering import spherical_kmeans
from occ_training.recipes.scenedino_classes import SemanticSceneDino
from occ_training.recipes.scenedino_data import InputBatch

_KMEANS_VECTORS = 20_000
_CLASSES = 19


class Naming:
    """Names the clusters of a network in place and scores its 2D classes.

    Args:
        dataset: Labelled input views.
        frames: At most so many of them, evenly chosen.
        kmeans: Look for the clusters anew before they are named.
        seed: Of everything random.
    """

    def __init__(
        self, dataset: Dataset[InputBatch], frames: int, kmeans: bool, seed: int = 0
    ) -> None:
        count = len(dataset)  # type: ignore[arg-type]
        self._dataset, self._kmeans, self._seed = dataset, kmeans, seed
        self._chosen = torch.linspace(0, count - 1, min(frames, count)).round().long().unique()

    @torch.no_grad()
    def __call__(self, network: SemanticSceneDino) -> dict[str, float]:
        """Scores 0..1 of the four ways to a class, after the clusters got their names."""
        is_training = network.training
        network.eval()
        features, labels = map(torch.cat, zip(*self._labelled(network), strict=True))
        scores = self.named(network, features, labels)
        network.train(is_training)
        return scores

    def named(
        self,
        network: SemanticSceneDino,
        features: Float[Tensor, "n c"],
        labels: Int[Tensor, " n"],
    ) -> dict[str, float]:
        """Name the clusters by labelled features.

        Args:
            network: Its heads are changed.
            features: Unit features.
            labels: Their train ids.
        """
        head, generator = network.semantics, torch.Generator().manual_seed(self._seed)
        codes = head.code(features)
        scores = {}
        for name, clusters, vectors in (
            ("stego", head.stego_clusters, codes),
            ("direct", head.direct_clusters, features),
        ):
            if self._kmeans:
                some = torch.randperm(len(vectors), generator=generator)[:_KMEANS_VECTORS]
                count = len(clusters.assignment)
                clusters.centres.copy_(spherical_kmeans(vectors[some], count, generator))
            result = name_clusters(clusters, vectors, labels).unsupervised()
            scores |= {f"{name}_miou": result.miou, f"{name}_accuracy": result.accuracy}
            if name == "stego":
                scores["weighted_miou"] = result.weighted_miou
        for name, probe, vectors in (
            ("stego_linear", head.stego_linear, codes),
            ("direct_linear", head.direct_linear, features),
        ):
            metric = SegmentationMetric(_CLASSES)
            metric.update(probe(vectors).argmax(dim=-1), labels)
            scores[f"{name}_miou"] = metric.supervised().miou
        return scores

    def _labelled(self, network: SemanticSceneDino) -> Iterator[Sequence[Tensor]]:
        device = next(network.parameters()).device
        for index in self._chosen.tolist():
            batch: InputBatch = self._dataset[index].to(device)
            generator = torch.Generator().manual_seed(self._seed)
            seen, _ = network.look(batch, generator)
            labels = network.shown(batch.labels)[0]
            known = labels >= 0
            yield seen[0].features[known], labels[known]


def name_clusters(
    clusters: ClusterHead, vectors: Float[Tensor, "n c"], labels: Int[Tensor, " n"]
) -> SegmentationMetric:
    """Give each cluster the class that most of its vectors have, every class a cluster.

    Args:
        clusters: Its assignment is changed.
        vectors: Codes or features.
        labels: Their train ids.
    """
    metric = SegmentationMetric(_CLASSES, len(clusters.assignment))
    metric.update(clusters(vectors).argmax(dim=-1), labels)
    clusters.assignment.copy_(assign_clusters(metric.confusion))
    return metric
