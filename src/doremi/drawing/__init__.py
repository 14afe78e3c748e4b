"""Data sets of whole documents, drawn from token files: the order, the counts, and shards on the disk.

Knows tokens and counts, but no runs and no mixtures (those are in export/sampled). It loads little, since each process
that writes shards loads it.
"""
