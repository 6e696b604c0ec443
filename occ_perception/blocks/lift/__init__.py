"""From image features to voxel features: depth, stereo, lift and splat."""
