"""SceneDINO (Jevtic et al. 2025): a feature field from one image, and classes without labels."""
