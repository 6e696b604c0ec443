"""Computed scenes with exact images, depth and voxels."""
