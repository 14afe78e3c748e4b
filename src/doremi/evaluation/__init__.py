"""How good a trained model is: loss on the fixed validation set (perplexity.py), downstream tasks (fewshot/)."""
