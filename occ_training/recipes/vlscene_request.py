"""VLScene's recipe as the command line asks for it: teachers by name, scores on further bags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from occ_training.engine.recipe import Recipe
from occ_training.labels.teacher import Teacher
from occ_training.recipes.request import Request
from occ_training.recipes.vlscene import VLScenePreset, build_recipe
from occ_training.recipes.vlscene_data import class_topic, stereo_topics
from occ_training.recipes.vlscene_validation import Validation


def build_requested(preset: VLScenePreset, request: Request) -> Recipe:
    """The recipe of a preset on the requested bags.

    Raises:
        OccError: Bags, topics, teacher or initial weights cannot be used.
    """
    preset = _with_class_images(preset, request)
    validate = Validation(preset, request.val) if request.val else None
    return build_recipe(preset, request.bags, _teacher(request.teacher, preset), validate)


def _with_class_images(preset: VLScenePreset, request: Request) -> VLScenePreset:
    """The stand-in teacher looks at class images: those of the left camera, if none are named."""
    topics = preset.training.topics
    if request.teacher != "toy" or topics.classes:
        return preset
    left, right = map(class_topic, stereo_topics(request.bags, topics))
    topics = replace(topics, classes=left, right_classes=right if preset.training.mirror else "")
    return replace(preset, training=replace(preset.training, topics=topics))


def _teacher(name: str, preset: VLScenePreset) -> Teacher | None:
    if not name:
        return None
    if name == "toy":
        from occ_training.labels.toy import ToyTeacher

        return ToyTeacher(preset.network.teacher_channels, preset.network.stride)
    from occ_training.labels.lseg import LSegConfig, load_lseg

    on_gpu = torch.cuda.is_available() and preset.loop.device != "cpu"
    config = LSegConfig(published_slips=preset.network.published_slips)
    precision = "fp16" if on_gpu else "fp32"
    return load_lseg(Path(name), config, "cuda" if on_gpu else "cpu", precision)
