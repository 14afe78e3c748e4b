"""Mixtures over domains: plain ones, published ones, limits."""
