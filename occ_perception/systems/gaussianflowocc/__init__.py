"""GaussianFlowOcc: six cameras to semantic Gaussians and voxels."""
