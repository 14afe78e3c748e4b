"""From files of text to token files: readers, tokenizer, encoding, validation split, store, preparation, sampler."""
