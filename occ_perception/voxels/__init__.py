"""Voxel volumes: what can be seen of them, and how fields or Gaussians become labels."""
