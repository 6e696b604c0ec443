"""Parity: our networks against stored outputs of the official code under rebuilt weights."""
