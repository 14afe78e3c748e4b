"""What may be wrong with a training or a search, judged from its numbers."""
