"""Convolutions over the occupied part of a volume."""
