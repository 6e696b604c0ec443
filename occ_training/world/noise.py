"""Value noise and lines in surface coordinates that fade before they alias."""

from __future__ import annotations

import numpy as np

from occ_training.world.arrays import Array, cast, namespace

SIDE = 256  # lattice points of a noise table along one side; a power of two
WAVELENGTHS_M = (2.4, 0.8, 0.27, 0.09, 0.03)


def noise_table(rng: np.random.Generator) -> np.ndarray:
    """Random lattice `[SIDE * SIDE]` float32, uniform in -1..1."""
    return rng.uniform(-1.0, 1.0, SIDE * SIDE).astype(np.float32)


def value_noise(table: Array, u: Array, v: Array) -> Array:
    """Smooth noise in -1..1 with one lattice point per unit of `u` and `v`; float32."""
    xp = namespace(u)
    fu, fv = xp.floor(u), xp.floor(v)
    x, y = cast(u - fu, "float32"), cast(v - fv, "float32")
    x, y = x * x * (3.0 - 2.0 * x), y * y * (3.0 - 2.0 * y)
    i, j = cast(fu, "int64"), cast(fv, "int64")
    row0, row1 = (i & (SIDE - 1)) * SIDE, ((i + 1) & (SIDE - 1)) * SIDE
    col0, col1 = j & (SIDE - 1), (j + 1) & (SIDE - 1)
    low, high = table[row0 + col0], table[row0 + col1]
    low = low + y * (high - low)
    far, high = table[row1 + col0], table[row1 + col1]
    far = far + y * (high - far)
    return low + x * (far - low)


def cell_noise(table: Array, u: Array, v: Array) -> Array:
    """Independent constant in -1..1 per unit cell of `u` and `v`; float32."""
    xp = namespace(u)
    i, j = cast(xp.floor(u), "int64"), cast(xp.floor(v), "int64")
    return table[((i * 37 + 11) & (SIDE - 1)) * SIDE + ((j * 23 + 5) & (SIDE - 1))]


def fade(wavelength_m: float, footprint_m: Array) -> Array:
    """Weight of a detail: 1 while four pixels cover its wavelength, 0 from two pixels on."""
    return namespace(footprint_m).clip(wavelength_m / (2.0 * footprint_m) - 1.0, 0.0, 1.0)


def octaves(
    table: Array,
    u: Array,
    v: Array,
    footprint_m: Array,
    gains: tuple[float, ...] = (0.35, 0.45, 0.5, 0.5, 0.5),
) -> Array:
    """Noise of five wavelengths from 2.4 m to 3 cm; about -1..1, float32.

    Args:
        table: Of `noise_table`.
        u: Surface coordinate, metres, float64 `[N]`.
        v: The other surface coordinate.
        footprint_m: Size of a pixel on the surface, metres, float32 `[N]`.
        gains: Amplitude per wavelength, longest first.
    """
    xp = namespace(u)
    total = xp.zeros_like(footprint_m)
    for k, (wavelength, gain) in enumerate(zip(WAVELENGTHS_M, gains, strict=True)):
        weight = gain * fade(wavelength, footprint_m)
        rows = weight > 0
        shift = 17.3 * k
        part = value_noise(table, u[rows] / wavelength + shift, v[rows] / wavelength - shift)
        total[rows] += weight[rows] * part
    return total


def stripe(x: Array, pitch_m: float, width_m: float, footprint_m: Array) -> Array:
    """Coverage 0..1 of lines of `width_m` centred at multiples of `pitch_m`, box filtered."""
    xp = namespace(x)
    away = cast(abs(x - xp.floor(x / pitch_m + 0.5) * pitch_m), "float32")
    sharp = xp.clip((0.5 * width_m - away) / footprint_m + 0.5, 0.0, 1.0)
    blur = xp.clip(2.0 * footprint_m / pitch_m - 0.5, 0.0, 1.0)
    thin = xp.clip(width_m / footprint_m, 0.0, 1.0)
    return (1.0 - blur) * sharp * thin + blur * (width_m / pitch_m)


def band(x: Array, low: float, high: float, footprint_m: Array) -> Array:
    """Coverage 0..1 of the interval [low, high], box filtered."""
    xp = namespace(x)
    x = cast(x, "float32")
    inside = xp.minimum(x - low, high - x)
    return xp.clip(inside / footprint_m + 0.5, 0.0, 1.0)


def mix(color: Array, other: tuple[float, float, float], weight: Array) -> Array:
    """Blend `[3, N]` colours with a constant one by a weight `[N]`."""
    xp = namespace(color)
    return xp.stack([c + weight * (o - c) for c, o in zip(color, other, strict=True)])
