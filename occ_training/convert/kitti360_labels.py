"""Semantic ids of KITTI-360 as Cityscapes train ids, under the name that recipes know."""

from occ_perception.core.cityscapes import IGNORED, bdd100k_train_ids, kitti360_train_ids

__all__ = ["IGNORED", "bdd100k_train_ids", "kitti360_train_ids"]
