"""Cityscapes train ids, the classes of unsupervised segmentation, and what they are in voxels."""

from __future__ import annotations

TRAIN_IDS = 19

# Index = train id; class of label map "sscbench_15". Sky and rider count as empty (S4C, SceneDINO).
SSCBENCH_15_OF_TRAIN_ID = (7, 8, 9, 9, 10, 13, 15, 14, 11, 12, 0, 6, 0, 1, 4, 5, 5, 3, 2)
