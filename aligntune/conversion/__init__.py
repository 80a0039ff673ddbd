"""``aligntune convert``: the configuration of another tool, as one of ours, with every line that has no counterpart."""
