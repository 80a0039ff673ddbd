"""What ``aligntune demo`` runs: find a small model, fine-tune it, align it, and show what it learned."""
