"""Losses: plain functions on tensors."""
