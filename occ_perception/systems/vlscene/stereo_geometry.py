"""The calibration of a rectified pair as the network sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import CalibrationError


class StereoGeometry(NamedTuple):
    """Calibration tensors of a batch of pairs; the axis of length 1 counts lifted views.

    Attributes:
        rots: `[B, 1, 3, 3]` rotation camera -> grid frame, one for both views.
        trans: `[B, 1, 3]` translation camera -> grid frame, metres; the baseline is in P.
        intrins_left: `[B, 1, 4, 4]` left 3x4 projection matrix in a 4x4 identity, raw pixels.
        intrins_right: `[B, 1, 4, 4]` the same of the right view.
        post_rots: `[B, 1, 3, 3]` raw pixels -> network pixels, linear part.
        post_trans: `[B, 1, 3]` raw pixels -> network pixels, shift.
        bda: `[B, 3, 3]` augmentation of the grid frame, normally the identity.
        calib: `[B, 1]` float64, focal length times baseline, raw pixels x metres.
    """

    rots: Float[Tensor, "b 1 3 3"]
    trans: Float[Tensor, "b 1 3"]
    intrins_left: Float[Tensor, "b 1 4 4"]
    intrins_right: Float[Tensor, "b 1 4 4"]
    post_rots: Float[Tensor, "b 1 3 3"]
    post_trans: Float[Tensor, "b 1 3"]
    bda: Float[Tensor, "b 3 3"]
    calib: Float[Tensor, "b 1"]

    @classmethod
    def cat(cls, items: Sequence[StereoGeometry]) -> StereoGeometry:
        """One batch from several."""
        return cls(*(torch.cat(parts) for parts in zip(*items, strict=True)))

    def to(self, device: torch.device | str) -> StereoGeometry:
        """The same calibration on another device."""
        return type(self)(*(tensor.to(device) for tensor in self))

    def check(self) -> None:
        """Refuse calibrations that would turn into a wrong grid instead of an error.

        Raises:
            CalibrationError: A number is not finite, a matrix cannot be inverted, or the right
                camera is not to the right of the left one.
        """
        for name, tensor in self._asdict().items():
            if not bool(tensor.isfinite().all()):
                raise CalibrationError(f"stereo calibration: {name} holds NaN or infinity")
        for name in ("intrins_left", "intrins_right", "post_rots"):
            if bool((torch.linalg.det(getattr(self, name)[..., :3, :3]) == 0).any()):
                raise CalibrationError(f"stereo calibration: {name} is singular; is K all zeros?")
        if bool((self.calib <= 0).any()):
            raise CalibrationError(
                f"stereo calibration: focal length x baseline is {float(self.calib.min()):.3f}, "
                "not positive; left and right are swapped or one camera is given twice"
            )

    def camera_vectors(self) -> tuple[Float[Tensor, "b 30"], Float[Tensor, "b 30"]]:
        """What the networks are told about the left and the right camera, raw units."""
        return self._camera_vector(self.intrins_left), self._camera_vector(self.intrins_right)

    def _camera_vector(self, intrins: Float[Tensor, "b 1 4 4"]) -> Float[Tensor, "b 30"]:
        """BEVDepth's camera vector, with the fourth column of P in it as well (18 + 12 values)."""
        P, R, t, b = intrins[:, 0], self.post_rots[:, 0], self.post_trans[:, 0], self.bda
        image = [P[:, 0, 0], P[:, 1, 1], P[:, 0, 2], P[:, 1, 2], P[:, 0, 3], P[:, 1, 3], P[:, 2, 3]]
        image += [R[:, 0, 0], R[:, 0, 1], t[:, 0], R[:, 1, 0], R[:, 1, 1], t[:, 1]]
        augmentation = [b[:, 0, 0], b[:, 0, 1], b[:, 1, 0], b[:, 1, 1], b[:, 2, 2]]
        pose = torch.cat([self.rots[:, 0], self.trans[:, 0, :, None]], dim=-1)
        return torch.cat([torch.stack(image + augmentation, dim=-1), pose.flatten(1)], dim=-1)
