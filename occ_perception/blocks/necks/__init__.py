"""Necks: maps of a backbone in, maps of equal width out."""
