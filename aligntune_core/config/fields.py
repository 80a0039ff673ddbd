"""Where the declaration of fields was first; it is ``aligntune_core.fields`` now."""

from aligntune_core.fields import Section, extra_of, option

__all__ = ["Section", "extra_of", "option"]
