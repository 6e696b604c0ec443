"""Differentiable rendering in plain torch."""
