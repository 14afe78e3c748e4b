"""Domains whose files hold tokens already, which are used where they lie.

    asked.py      what a user says of such files
    find.py       which files there are, and what belongs to them
    layout.py     where in a file its tokens lie, and which are its documents: one module a form
    flat.py, megatron.py, columns.py
    numbers.py    whether these numbers can be this tokenizer's
    decoding.py   tokens to the bytes of their text
    documents.py  the documents of a domain, whole or a sample, and their pieces
    plan.py       what is held out of them; writing.py what is trained on

Nothing here copies training tokens. Columns that are compressed are the exception, and that is said.
"""
