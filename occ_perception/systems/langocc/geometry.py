"""Calibration and motion of six cameras over some key frames, and what follows from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from occ_perception.core.errors import CalibrationError


class SurroundGeometry(NamedTuple):
    """Cameras of a batch; frame 0 is the current one, frame 1 the one before, and so on.

    Attributes:
        T_ego_cam: `[B, F, N, 4, 4]` camera poses on the vehicle, metres.
        T_world_ego: `[B, F, N, 4, 4]` vehicle poses at the time of each image, metres.
        K: `[B, F, N, 3, 3]` intrinsics of the source images, pixels.
        image_transform: `[B, F, N, 3, 3]` source pixels to network pixels.
        augmentation: `[B, 3, 3]` of the vehicle frame, normally the identity.
    """

    T_ego_cam: Float[Tensor, "b f n 4 4"]
    T_world_ego: Float[Tensor, "b f n 4 4"]
    K: Float[Tensor, "b f n 3 3"]
    image_transform: Float[Tensor, "b f n 3 3"]
    augmentation: Float[Tensor, "b 3 3"]

    def to(self, device: torch.device | str) -> SurroundGeometry:
        """The same geometry on another device."""
        return type(self)(*(tensor.to(device) for tensor in self))

    def check(self) -> None:
        """Refuse calibrations that would turn into wrong voxels instead of an error.

        Raises:
            CalibrationError: A number is not finite or a matrix cannot be inverted.
        """
        for name, tensor in self._asdict().items():
            if not bool(tensor.isfinite().all()):
                raise CalibrationError(f"surround calibration: {name} holds NaN or infinity")
            if bool((torch.linalg.det(tensor.double()) == 0).any()):
                raise CalibrationError(
                    f"surround calibration: {name} has a singular matrix; is a camera's K all "
                    "zeros or its transform missing?"
                )

    def T_world_cam(self) -> Float[Tensor, "b f n 4 4"]:  # noqa: N802  (the name of the literature)
        """Camera poses, float64."""
        return self.T_world_ego.double() @ self.T_ego_cam.double()

    def T_key_cam(self) -> Float[Tensor, "b f n 4 4"]:  # noqa: N802
        """Camera poses in the grid's frame: the vehicle when the first camera took its image."""
        key = torch.linalg.inv(self.T_world_ego[:, :1, :1].double())
        return (key @ self.T_world_cam()).float()

    def T_earlier_now(self) -> Float[Tensor, "b e n 4 4"]:  # noqa: N802
        """From every camera to the same camera one frame earlier, for all frames but the last."""
        poses = self.T_world_cam()
        return (torch.linalg.inv(poses[:, 1:]) @ poses[:, :-1]).float()

    def camera_vectors(self) -> Float[Tensor, "b n 27"]:
        """What the depth net is told about the current cameras, raw units.

        Used for all frames: the published network is told the current poses for the older ones.
        """
        K, fit, b = self.K[:, 0], self.image_transform[:, 0], self.augmentation[:, None]
        image = [K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]]
        image += [fit[..., 0, 0], fit[..., 0, 1], fit[..., 0, 2]]
        image += [fit[..., 1, 0], fit[..., 1, 1], fit[..., 1, 2]]
        flips = [b[..., 0, 0], b[..., 0, 1], b[..., 1, 0], b[..., 1, 1], b[..., 2, 2]]
        flips = [value.expand(image[0].shape) for value in flips]
        pose = self.T_key_cam()[:, 0, :, :3].flatten(2)
        return torch.cat([torch.stack(image + flips, dim=-1).to(pose), pose], dim=-1)
