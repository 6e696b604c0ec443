"""Pictures of Gaussians over time for training: one signature, two rasterisers."""
