"""Import paths that tutorials use; see ``aligntune.core.backend_factory``."""
