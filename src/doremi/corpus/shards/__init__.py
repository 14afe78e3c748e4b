"""A preparation in steps that many processes can share.

    begin.py     what is held out, and which shards there are: one process
    write.py     one shard: its documents as tokens, knowing nothing of other shards
    join.py      all shards of a domain in the order of its files, without what is dropped

What the steps hand on lies in `.shards` of the corpus folder (layout.py, rows.py), and goes when the corpus is there.
"""
