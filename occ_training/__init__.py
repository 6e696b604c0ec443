"""What makes and trains the systems of occ_perception: world, data, labels, losses, recipes."""
