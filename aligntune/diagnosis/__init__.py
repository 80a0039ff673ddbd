"""What ``aligntune doctor`` looks at: requirements against what is installed, and backends as they really import."""
