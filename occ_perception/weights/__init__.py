"""Weights: known official files, their conversion to safetensors, and checked loading."""
