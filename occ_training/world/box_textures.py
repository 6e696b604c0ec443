"""Surface colour as a function of surface coordinates: stereo matching needs gradient everywhere.

Every pattern fades out where a pixel covers more than half its wavelength, so nothing aliases.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

OCTAVES = ((3.1, 0.06), (0.83, 0.07), (0.21, 0.09), (0.052, 0.10))  # wavelength m, amplitude
TABLE = 256
FACADE_STEP_M = 1.9
SLAB_M = 0.5


def noise_table(seed: int) -> Array:
    """Random values -1..1 on a periodic lattice, `[256, 256]`."""
    return np.random.default_rng([seed, 0x7E47]).uniform(-1.0, 1.0, (TABLE, TABLE))


def shade(texture: str, u_m: Array, v_m: Array, pixel_m: Array, table: Array) -> Array:
    """Factor on the albedo, `[n]`.

    Args:
        texture: "plain", "asphalt", "slabs", "facade", "leaves" or "marked" (no texture at all).
        u_m: `[n]` first surface coordinate, metres.
        v_m: `[n]` second surface coordinate, metres; upright on walls.
        pixel_m: `[n]` size of a pixel on the surface, metres.
        table: Lattice of `noise_table`.
    """
    if texture == "marked":
        return np.ones_like(u_m)
    factor = 1.0 + (2.5 if texture == "leaves" else 1.0) * _grain(u_m, v_m, pixel_m, table)
    if texture == "facade":
        glass = _band(u_m, FACADE_STEP_M, 0.28, 0.72) & _band(v_m, FACADE_STEP_M, 0.30, 0.82)
        factor *= _faded(glass, 0.45, FACADE_STEP_M, pixel_m)
    if texture == "slabs":
        joint = _band(u_m, SLAB_M, 0.0, 0.05) | _band(v_m, SLAB_M, 0.0, 0.05)
        factor *= _faded(joint, 0.6, 0.1 * SLAB_M, pixel_m)
    return np.asarray(factor)


def lane_marks(x_m: Array, y_m: Array, line_y_m: float) -> npt.NDArray[np.bool_]:
    """Dashes of 3 m with gaps of 6 m, 0.15 m wide, along one line of the road."""
    return (np.abs(y_m - line_y_m) < 0.075) & (np.mod(x_m, 9.0) < 3.0)


def _band(x_m: Array, step_m: float, start: float, end: float) -> npt.NDArray[np.bool_]:
    phase = np.mod(x_m / step_m, 1.0)
    return (phase >= start) & (phase < end)


def _faded(pattern: npt.NDArray[np.bool_], depth: float, wave_m: float, pixel_m: Array) -> Array:
    visible = np.clip(wave_m / (2 * pixel_m), 0.0, 1.0)
    return 1.0 - (1.0 - depth) * visible * pattern


def _grain(u_m: Array, v_m: Array, pixel_m: Array, table: Array) -> Array:
    total = np.zeros_like(u_m)
    for wavelength, amplitude in OCTAVES:
        visible = np.clip(wavelength / (2 * pixel_m) - 1.0, 0.0, 1.0)
        seen = np.flatnonzero(visible)
        if seen.size:
            noise = _lattice_noise(u_m[seen] / wavelength, v_m[seen] / wavelength, table)
            total[seen] += amplitude * visible[seen] * noise
    return total


def _lattice_noise(u: Array, v: Array, table: Array) -> Array:
    """Bilinear value noise with period `TABLE`."""
    i, j = np.floor(u), np.floor(v)
    a, b = u - i, v - j
    row, column = i.astype(np.int64) % TABLE, j.astype(np.int64) % TABLE
    below, right = (row + 1) % TABLE, (column + 1) % TABLE
    top = table[row, column] * (1 - b) + table[row, right] * b
    bottom = table[below, column] * (1 - b) + table[below, right] * b
    return np.asarray(top * (1 - a) + bottom * a)
