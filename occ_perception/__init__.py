"""Camera-only 3D semantic occupancy: a torch library with thin ROS 2 nodes around it."""

__version__ = "0.1.0"
