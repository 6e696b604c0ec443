"""LangOcc over a stream of key frames: what was computed once is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.systems.langocc.geometry import SurroundGeometry
from occ_perception.systems.langocc.model import KeyFrame, LangOcc

_FRAMES = 3


class FrameGeometry(NamedTuple):
    """Cameras of one key frame (see `SurroundGeometry`; without its frame axis)."""

    T_ego_cam: Float[Tensor, "b n 4 4"]
    T_world_ego: Float[Tensor, "b n 4 4"]
    K: Float[Tensor, "b n 3 3"]
    image_transform: Float[Tensor, "b n 3 3"]


@dataclass(frozen=True, eq=False)
class _Kept:
    frame: KeyFrame
    geometry: FrameGeometry


class LangOccHistory:
    """Steps through key frames, about half a second apart as in training.

    Every image is looked at once and every pair of frames matched once; the numbers are those of
    `LangOcc.forward` on the last three frames. Where there are not yet three, the current frame
    stands in for the missing ones, as published.

    Args:
        network: In eval mode.
    """

    def __init__(self, network: LangOcc) -> None:
        self._network = network
        self._past: list[_Kept] = []

    def reset(self) -> None:
        """Forget everything, e.g. after a jump in time."""
        self._past.clear()

    @torch.no_grad()
    def step(
        self, images: Float[Tensor, "b n 3 h w"], geometry: FrameGeometry
    ) -> Float[Tensor, "b c x y z"]:
        """Voxel features at a new key frame.

        Args:
            images: Normalised images at the network's size.
            geometry: Their cameras.

        Raises:
            CalibrationError: The calibration cannot be used; the history is as before.
        """
        network = self._network
        current = _Kept(network.look(images), geometry)
        frames = [current, *self._past]
        now, before, oldest = (frames[i] if i < len(frames) else current for i in range(_FRAMES))
        plan = network.plan(_stacked(now.geometry, before.geometry, oldest.geometry))
        matched = network.match(now.frame, before.frame.stereo, plan.sweeps[:, 0])
        # A cost from an earlier step is kept only when it was matched with a true predecessor.
        earlier = before.frame
        if earlier.cost is None:
            earlier = network.match(earlier, oldest.frame.stereo, plan.sweeps[:, 1])
        scene = network.scene(matched, earlier, plan)
        kept = replace(current, frame=matched) if self._past else current
        self._past = [kept, *self._past][: _FRAMES - 1]
        return scene


def _stacked(*frames: FrameGeometry) -> SurroundGeometry:
    tensors = (torch.stack(parts, dim=1) for parts in zip(*frames, strict=True))
    turn = torch.eye(3, device=frames[0].K.device).expand(len(frames[0].K), 3, 3)
    return SurroundGeometry(*tensors, turn)
