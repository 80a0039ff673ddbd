"""The rewards that come with the package: one small function each, one theme a file.

Positional arguments come from a sample (``text``, ``reference``, ``completion_ids``); keyword-only arguments are
the parameters that a configuration may set.
"""
