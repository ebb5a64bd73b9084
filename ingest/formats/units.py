"""Units of voltage as files name them."""

from __future__ import annotations

from types import MappingProxyType

PER_MV = MappingProxyType({"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3})
"""Millivolts in one of each, by its symbol in lower case and without Greek letters."""
