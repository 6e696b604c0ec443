"""Attention of sparse queries: among themselves and into camera images."""
