"""Image fit of the surround systems: pixels and matrices tell the same story."""

import numpy as np
import pytest
import torch

from occ_perception.blocks.surround_input import (
    ImageFit,
    apply_fit,
    draw_fit,
    fit_image,
    normalise,
)

SIZE = (128, 352)


def dotted(u, v, width=800, height=450):
    image = np.zeros((height, width, 3), np.uint8)
    image[v - 3 : v + 4, u - 3 : u + 4] = 255
    return image


@pytest.mark.parametrize(
    "fit",
    [
        fit_image(800, 450, SIZE),
        ImageFit(0.5, (400, 225), (20, 60), SIZE, flip=True),
        ImageFit(0.45, (360, 202), (4, 74), SIZE, rotate_deg=5.0),
        ImageFit(0.45, (360, 202), (-10, 74), SIZE, flip=True, rotate_deg=-4.0),
    ],
)
def test_a_marked_pixel_lands_where_the_matrix_says(fit):
    u, v = 300, 320
    picture = apply_fit(dotted(u, v), fit).astype(float).sum(axis=-1)
    rows, columns = np.nonzero(picture > picture.max() / 2)
    expected = (fit.matrix() @ [u + 0.5, v + 0.5, 1])[:2]
    # The published matrix does not know that sizes are rounded down and rotation takes the nearest.
    assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(list(expected), abs=0.9)


def test_inference_keeps_the_whole_width_and_the_bottom():
    fit = fit_image(1600, 900, (256, 704))
    assert fit.crop == (0, 140)
    np.testing.assert_allclose(fit.matrix(), [[0.44, 0, 0], [0, 0.44, -140], [0, 0, 1]])
    assert apply_fit(np.zeros((900, 1600, 3), np.uint8), fit).shape == (256, 704, 3)


def test_a_flat_camera_gets_black_rows_on_top():
    picture = apply_fit(np.full((200, 800, 3), 255, np.uint8), fit_image(800, 200, SIZE))
    assert not picture[:40].any()
    assert (picture[40:] == 255).all()


def test_channels_are_swapped_before_they_are_normalised():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 2] = 255  # blue
    channels = normalise(picture)[:, 0, 0]
    torch.testing.assert_close(
        channels, torch.tensor([(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375])
    )


def test_flips_are_drawn_only_where_they_are_wanted():
    fits = [
        [draw_fit(800, 450, SIZE, np.random.RandomState(seed), flips) for seed in range(20)]
        for flips in (True, False)
    ]
    assert {fit.flip for fit in fits[0]} == {True, False}
    assert {fit.flip for fit in fits[1]} == {False}
    assert all(0.38 <= fit.resize <= 0.55 and abs(fit.rotate_deg) <= 5.4 for fit in fits[0])
    assert all(fit.crop[1] == fit.resized[1] - SIZE[0] for fit in fits[0])
