"""The checks of ``aligntune doctor``: requirements that are not met, and backends that do not import."""
