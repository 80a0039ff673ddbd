"""Algorithms known to core: their names, columns and parameters."""
