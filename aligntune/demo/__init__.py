"""The parts of ``aligntune demo``: find a small model, fine-tune it, align it, and show what it learned."""
