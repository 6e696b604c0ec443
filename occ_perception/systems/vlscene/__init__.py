"""VLScene: semantic voxels in front of the car from a rectified stereo pair (AAAI 2025)."""
