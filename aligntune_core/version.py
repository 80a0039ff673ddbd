"""The version of the core API; a plugin's ``Requires-Dist: aligntune...`` says which it was built for."""

__version__ = "1.1.0"
