"""Random changes of a sample that stay true: calibration, poses and labels change with the image.

A mirrored world is a possible world, so mirroring changes everything: images, intrinsics, poses,
voxels, points. Cropping and resizing change the intrinsics. Colours change for all images of a
sample alike, because photometric losses compare them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from occ_perception.core.camera import Camera
from occ_perception.core.errors import ConfigError
from occ_perception.core.types import CameraFrame
from occ_perception.geometry.transforms import Matrix
from occ_training.data.samples import LabelImage, Layer, Points, Sample, View, Voxels

Image = npt.NDArray[np.uint8]
Recolour = Callable[[Image], Image]
Values = npt.NDArray[np.generic]

MIRROR_BODY: Matrix = np.diag([1.0, -1.0, 1.0, 1.0])  # left and right of a vehicle
MIRROR_OPTICAL: Matrix = np.diag([-1.0, 1.0, 1.0, 1.0])  # left and right of an image
GREY_OF_RGB = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Colours:
    """One change of colours.

    Attributes:
        brightness: Factor.
        contrast: Factor of the distance to the mean grey.
        saturation: Factor of the distance to grey.
        hue: Turn of the colour circle, -0.5..0.5.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


@dataclass(frozen=True)
class ColourJitter:
    """Random changes of colours one after the other, in random order (torchvision's ColorJitter).

    Attributes:
        brightness: Largest change of the factor, 0.2 = 0.8..1.2.
        contrast: The same.
        saturation: The same.
        hue: Largest turn of the colour circle, up to 0.5.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1

    def draw(self, rng: np.random.Generator) -> Recolour:
        """One change, for any number of images."""
        spans = (self.brightness, self.contrast, self.saturation)
        factors = [1 + rng.uniform(-span, span) for span in spans]
        steps = [Colours(brightness=factors[0]), Colours(contrast=factors[1])]
        steps += [Colours(saturation=factors[2]), Colours(hue=rng.uniform(-self.hue, self.hue))]
        order = [steps[i] for i in rng.permutation(len(steps))]

        def change(image: Image) -> Image:
            for step in order:
                image = change_colours(image, step)
            return image

        return change


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation; a transform of `BagDataset`.

    Attributes:
        mirror: Probability of mirroring left and right.
        brightness: Largest change of the factor, 0.2 = 0.8..1.2.
        contrast: The same.
        saturation: The same.
        hue: Largest turn of the colour circle, up to 0.5.
        scale: Smallest and largest size of the images relative to what they are.
        crop: Width and height of the window cut out at a random place after scaling; None = all.
    """

    mirror: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    crop: tuple[int, int] | None = None

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """A changed copy of a sample."""
        if rng.random() < self.mirror:
            sample = mirrored(sample)
        scale = rng.uniform(*self.scale)
        if scale != 1.0:
            sample = resized(sample, scale)
        if self.crop is not None:
            sample = randomly_cropped(sample, self.crop, rng)
        return recoloured(sample, self._colours(rng))

    def _colours(self, rng: np.random.Generator) -> Colours:
        spans = (self.brightness, self.contrast, self.saturation)
        factors = [1 + rng.uniform(-span, span) for span in spans]
        return Colours(*factors, hue=rng.uniform(-self.hue, self.hue))


def mapped(sample: Sample, view: Callable[[View], View], layer: Callable[[Layer], Layer]) -> Sample:
    """A sample with every view and every layer changed."""
    return replace(
        sample,
        views=tuple(view(v) for v in sample.views),
        neighbours={o: tuple(view(v) for v in views) for o, views in sample.neighbours.items()},
        labels={name: layer(each) for name, each in sample.labels.items()},
    )


def mirrored(sample: Sample) -> Sample:
    """The sample of the mirrored world.

    Cameras keep their order and names. Of a stereo pair the former right camera is now the left
    one, as its positive P[0, 3] says; `swapped_pair` gives the pair its order back.

    Raises:
        ConfigError: A voxel grid does not lie symmetrically, so that it would leave its place.
    """
    return mapped(sample, _mirrored_view, _mirrored_layer)


def swapped_pair(sample: Sample) -> Sample:
    """A mirrored stereo pair (the first two views) with the left camera first again.

    Raises:
        ConfigError: The second view is not the left one.
    """

    def swap(views: tuple[View, ...]) -> tuple[View, ...]:
        right, left, *others = views
        origin = left.frame.camera.P[0, 3]
        if origin <= right.frame.camera.P[0, 3]:
            raise ConfigError("the first two views are no mirrored stereo pair")
        return (_shifted(left, origin), _shifted(right, origin), *others)

    neighbours = {offset: swap(views) for offset, views in sample.neighbours.items()}
    return replace(sample, views=swap(sample.views), neighbours=neighbours)


def resized(sample: Sample, scale: float) -> Sample:
    """Images and images of labels in another size."""

    def view(old: View) -> View:
        camera = old.frame.camera
        new = camera.resized(*_scaled(camera.width, camera.height, scale))
        image = cv2.resize(old.frame.image, (new.width, new.height))
        return replace(old, frame=CameraFrame(image, new, old.frame.stamp_ns))

    def layer(old: Layer) -> Layer:
        if not isinstance(old, LabelImage):
            return old
        height, width = old.values.shape[:2]
        size = _scaled(width, height, scale)
        # Classes and depths of neighbouring pixels must not be mixed.
        return replace(old, values=cv2.resize(old.values, size, interpolation=cv2.INTER_NEAREST))

    return mapped(sample, view, layer)


def randomly_cropped(sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Sample:
    """The same window of all images, which must be of one size.

    Raises:
        ConfigError: The images differ in size, or are smaller than the window.
    """
    width, height = size
    sizes = {(v.frame.camera.width, v.frame.camera.height) for v in sample.views}
    if len(sizes) != 1 or not all(w >= width and h >= height for w, h in sizes):
        raise ConfigError(f"a window of {width}x{height} cannot be cut from images of {sizes}")
    full_width, full_height = sizes.pop()
    left = int(rng.integers(full_width - width + 1))
    top = int(rng.integers(full_height - height + 1))
    return cropped(sample, left, top, width, height)


def cropped(sample: Sample, left: int, top: int, width: int, height: int) -> Sample:
    """A window of all images and images of labels, given by its first pixel."""
    rows, columns = slice(top, top + height), slice(left, left + width)

    def view(old: View) -> View:
        camera = old.frame.camera.cropped(left, top, width, height)
        image = np.ascontiguousarray(old.frame.image[rows, columns])
        return replace(old, frame=CameraFrame(image, camera, old.frame.stamp_ns))

    def layer(old: Layer) -> Layer:
        if not isinstance(old, LabelImage):
            return old
        return replace(old, values=np.ascontiguousarray(old.values[rows, columns]))

    return mapped(sample, view, layer)


def recoloured(sample: Sample, colours: Colours) -> Sample:
    """All images with the same change of colours."""
    if colours == Colours():
        return sample

    def view(old: View) -> View:
        image = change_colours(old.frame.image, colours)
        return replace(old, frame=CameraFrame(image, old.frame.camera, old.frame.stamp_ns))

    return mapped(sample, view, lambda layer: layer)


def change_colours(image: Image, colours: Colours) -> Image:
    """An image `[H, W, 3]` RGB with other colours, in the order of the attributes."""
    if colours.hue:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(colours.hue * 256) % 256)  # wraps around, as hues do
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    pixels = image.astype(np.float32) * np.float32(colours.brightness)
    mean = float((pixels @ GREY_OF_RGB).mean())
    pixels = mean + np.float32(colours.contrast) * (pixels - mean)
    grey = (pixels @ GREY_OF_RGB)[..., None]
    pixels = grey + np.float32(colours.saturation) * (pixels - grey)
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def _scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    return max(1, round(width * scale)), max(1, round(height * scale))


def _mirrored_pose(T: Matrix | None) -> Matrix | None:
    return None if T is None else MIRROR_BODY @ T @ MIRROR_BODY


def _mirrored_view(view: View) -> View:
    camera = view.frame.camera
    flip = np.array([[-1.0, 0, camera.width - 1], [0, 1, 0], [0, 0, 1]])
    P = flip @ camera.P @ MIRROR_OPTICAL
    T_base_cam = MIRROR_BODY @ camera.T_base_cam @ MIRROR_OPTICAL
    image = np.ascontiguousarray(view.frame.image[:, ::-1])
    frame = CameraFrame(image, replace(camera, P=P, T_base_cam=T_base_cam), view.frame.stamp_ns)
    return View(frame, _mirrored_pose(view.T_world_base))


def _mirrored_layer(layer: Layer) -> Layer:
    if isinstance(layer, Voxels):
        return _mirrored_voxels(layer)
    if isinstance(layer, Points):
        return _mirrored_points(layer)
    return replace(layer, values=np.ascontiguousarray(layer.values[:, ::-1]))


def _mirrored_voxels(voxels: Voxels) -> Voxels:
    low, high = voxels.grid.origin_m[1], voxels.grid.upper_m[1]
    if abs(low + high) > 1e-6:
        raise ConfigError(
            f"a grid from y = {low} to {high} m does not fit its own mirror image: "
            "train without mirroring"
        )

    def flip(volume: Values | None) -> Values | None:
        return None if volume is None else np.ascontiguousarray(volume[:, ::-1])

    return replace(
        voxels,
        labels=flip(voxels.labels),
        known=flip(voxels.known),
        T_base_grid=_mirrored_pose(voxels.T_base_grid),
        T_world_base=_mirrored_pose(voxels.T_world_base),
    )


def _mirrored_points(points: Points) -> Points:
    columns: Mapping[str, Values] = {**points.columns, "y": -points.columns["y"]}
    return replace(
        points,
        columns=columns,
        T_base_sensor=_mirrored_pose(points.T_base_sensor),
        T_world_base=_mirrored_pose(points.T_world_base),
    )


def _shifted(view: View, origin: float) -> View:
    """The view with P relative to another camera of the pair."""
    camera: Camera = view.frame.camera
    P = camera.P.copy()
    P[0, 3] -= origin
    return replace(view, frame=replace(view.frame, camera=replace(camera, P=P)))
