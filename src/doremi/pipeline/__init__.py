"""A run at work: its stages one after another."""
