"""Training samples and the random choices made on them."""
