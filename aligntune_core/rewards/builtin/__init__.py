"""The rewards that come with the package: one small function each, grouped by what they look at.

Positional arguments come from a sample (``text``: the completion; ``reference``: the row's right answer, or a longer
solution that ends in it; ``completion_ids``: the completion's tokens). Keyword-only arguments are the parameters that a
configuration may set; each is described, with its default, where it is declared, and listings show just that.
"""
