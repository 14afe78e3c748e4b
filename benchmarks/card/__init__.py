"""The parts of benchmarks/first_card.py."""
