"""Executables: each builds its configuration and runs one node."""
