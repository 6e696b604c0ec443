"""Adapters of LangOcc's two teachers."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor, nn

from occ_perception.core.key_pairs import KeyPairs
from occ_training.labels import maskclip_student, maskclip_vit
from parity.cases import Case, Weights
from parity.compare import Check, Outputs, Rule
from parity.fill import fill_tensor
from parity.gaussianflowocc_net_cases import Recorder
from parity.langocc_data_cases import salt_of
from parity.surround_tools import mostly, told_slices


def filled(module: nn.Module, section: str, names: KeyPairs, case: Case, weights: Weights):
    """A teacher with the weights of its own section of the manifest."""
    shapes = weights.manifest[section]["state_dict"]
    salt = salt_of(case, weights)
    state = {names.rename(k): torch.from_numpy(fill_tensor(k, s, salt)) for k, s in shapes.items()}
    module.load_state_dict(state)
    return module.eval()


def told_image(case: Case) -> Tensor:
    """`Generator(PCG64(n)).standard_normal(shape, dtype=float32)`."""
    seed, *shape = case.integers(r"PCG64\((\d+\)\).standard_normal\(\([\d,]+)")
    rng = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def cut(case: Case, name: str, tensor: Tensor) -> Tensor:
    """A tensor cut as the case tells."""
    return tensor[told_slices(case.value(f"outputs.{name}"))]


def student(case: Case, weights: Weights) -> Outputs:
    """Backbone, head and features at points."""
    net = filled(
        maskclip_student.MaskClipStudent(),
        "maskclip_plus_student",
        maskclip_student.NAMES,
        case,
        weights,
    )
    image = told_image(case)
    recorder = Recorder()
    with recorder.watching(net, {"c2": "backbone.layer1", "c5": "backbone.layer4"}):
        features = net(image)
    maps = {name: output for name, _, output in recorder.calls}
    original = case.integers(r"original size \((\d+,\d+)\)")
    pixels = torch.from_numpy(case.stored["pixels"])
    points = maskclip_student.point_features(features[0], image.shape[2:], original, pixels)
    for name, tensor in (("c2", maps["c2"]), ("c5", maps["c5"]), ("aspp", features)):
        check_whole(case, name, tensor)
    return {
        "backbone_c2": cut(case, "backbone_c2", maps["c2"]),
        "backbone_c5": cut(case, "backbone_c5", maps["c5"]),
        "aspp_sum": cut(case, "aspp_sum", features),
        "point_features": cut(case, "point_features", points),
        "point_feature_norm": points.norm(dim=-1),
    }


def check_whole(case: Case, name: str, tensor: Tensor) -> None:
    """Shape, mean and standard deviation of a whole tensor; the case stores parts only."""
    shape, mean, std = case.value(f"stats.{name}")
    assert list(tensor.shape) == shape, f"{name}: shape {tuple(tensor.shape)}, told {shape}"
    ours = [float(tensor.mean()), float(tensor.std(unbiased=False))]
    assert np.allclose(ours, [mean, std], atol=1e-3), f"{name}: mean and std {ours}"


def vit(case: Case, weights: Weights) -> Outputs:
    """Dense values, ordinary tokens, keys and vectors."""
    net = filled(maskclip_vit.MaskClipViT(), "clip_vit", maskclip_vit.NAMES, case, weights)
    dense = net(told_image(case))
    found = {"v": dense.values, "x_final": dense.tokens, "k": dense.keys}
    found["dense_unit"] = dense.vectors
    return {name: cut(case, name, tensor) for name, tensor in found.items()}


def teacher_rule(case: Case, name: str) -> Rule:
    """`2e-3*absmax` as the case says it."""
    (share,) = re.findall(r"([\d.e-]+)\*absmax", case.spec["tolerance"])
    return mostly(1.0, 0, of_largest=float(share))


CASES = {
    "maskclip_student": Check(student, teacher_rule, inputs=frozenset({"pixels"}), heavy=True),
    "maskclip_vit": Check(vit, teacher_rule, heavy=True),
}
