"""Adapters of VLScene's image half and of the whole network."""

from __future__ import annotations

from parity.compare import Check

CASES: dict[str, Check] = {}
