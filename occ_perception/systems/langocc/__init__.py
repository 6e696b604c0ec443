"""LangOcc: six cameras to voxels that answer to words."""
