"""How good a trained model is: per-domain loss on the fixed validation set (perplexity.py)."""
