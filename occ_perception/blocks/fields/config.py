"""What the configurations of all field systems have in common."""

from __future__ import annotations

from dataclasses import dataclass

from occ_perception.blocks.fields.pixel_field import FieldRange
from occ_perception.core.grid import GridSpec


@dataclass(frozen=True)
class FieldConfig:
    """The images that a field is made from and the space that it is asked about.

    The grid is no part of the network: a field answers anywhere, so any grid may be asked for.

    Attributes:
        input_size: Height and width of the network's image, pixels.
        near_m: Start of the rays and upper end of the depth code, metres along the ray.
        far_m: End of the rays and lower end of the depth code, metres.
        samples: Samples per ray.
        occupied_density: Density above which a point counts as occupied, 1/m.
        trained_view_deg: Horizontal field of view of the training images, degrees.
        picture_stride: Pixels of the network's image per rendered ray of a picture.
        origin_m: Lower corner of the grid.
        voxel_m: Edge length of its voxels, metres.
        grid_shape: Number of voxels along x, y and z.
        frame_id: Name of the grid's frame (x forward, y left, z up).
    """

    input_size: tuple[int, int] = (192, 640)
    near_m: float = 3.0
    far_m: float = 80.0
    samples: int = 64
    occupied_density: float = 0.5
    trained_view_deg: float = 103.8  # KITTI-360's rectified cameras
    picture_stride: int = 4
    # SSCBench-KITTI-360
    origin_m: tuple[float, float, float] = (0.0, -25.6, -2.0)
    voxel_m: float = 0.2
    grid_shape: tuple[int, int, int] = (256, 256, 32)
    frame_id: str = "velodyne"

    @property
    def field_range(self) -> FieldRange:
        """Coding of points."""
        return FieldRange(self.near_m, self.far_m)

    @property
    def map_size(self) -> tuple[int, int]:
        """Height and width of the hidden map."""
        return self.input_size

    @property
    def grid(self) -> GridSpec:
        """Grid of the predicted labels."""
        return GridSpec(self.origin_m, (self.voxel_m,) * 3, self.grid_shape, self.frame_id)
