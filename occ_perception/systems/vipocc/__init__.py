"""ViPOcc (Feng et al. 2025) and BTS (Wimbauer et al. 2023): density from one image."""
