"""Latents as colours that stay the same from image to image."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

_COLOURS = 3
# Share of a new image in mean and covariance; the scene changes slowly, colours should too.
_UPDATE = 0.05
# Standard deviations of a component that span half of its colour range.
_SPAN = 2.0


class LatentColours:
    """First three principal components as red, green and blue.

    A decomposition of every image alone would swap and flip components between images. So mean
    and covariance are running averages, and the basis is carried on by one step of subspace
    iteration, which turns it no further than the data ask for.
    """

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._covariance = torch.zeros(0)
        self._basis = torch.zeros(0)

    def reset(self) -> None:
        """Begin with new colours."""
        self._mean = None

    def __call__(self, latents: Float[Tensor, "n l"]) -> UInt8[Tensor, "n 3"]:
        """Colours of an image's latents; at least two of them."""
        self._update(latents)
        centred = (latents - self._mean) @ self._basis
        spread = ((self._covariance @ self._basis) * self._basis).sum(dim=0).clamp(min=1e-12)
        shade = 0.5 + centred / (2 * _SPAN * spread.sqrt())
        return (shade.clamp(0, 1) * 255).round().to(torch.uint8)

    def _update(self, latents: Float[Tensor, "n l"]) -> None:
        mean, covariance = latents.mean(dim=0), latents.T.cov()
        if self._mean is None:
            self._mean, self._covariance = mean, covariance
            self._basis = _with_fixed_signs(torch.linalg.eigh(covariance).eigenvectors)
            return
        self._mean = torch.lerp(self._mean, mean, _UPDATE)
        self._covariance = torch.lerp(self._covariance, covariance, _UPDATE)
        self._basis = _continued(self._basis, self._covariance @ self._basis)


def _with_fixed_signs(vectors: Float[Tensor, "l l"]) -> Float[Tensor, "l 3"]:
    """The last vectors, largest first, each with its largest entry positive."""
    basis = vectors.flip(1)[:, :_COLOURS]
    largest = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True))
    return basis * largest.sign()


def _continued(old: Float[Tensor, "l 3"], turned: Float[Tensor, "l 3"]) -> Float[Tensor, "l 3"]:
    """Orthonormal basis of the turned vectors, each pointing where the old one did."""
    basis = torch.linalg.qr(turned).Q
    return basis * torch.where((basis * old).sum(dim=0) < 0, -1.0, 1.0)
