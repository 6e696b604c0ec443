"""Rigid transforms, projection and rays; plain functions on arrays."""
