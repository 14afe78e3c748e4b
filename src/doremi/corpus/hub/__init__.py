"""Datasets of the Hugging Face Hub by name: which of their files are of which configuration and split."""
