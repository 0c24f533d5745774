"""Raw text of any kind to one sentence a line: what data_prep/clean_corpus.py does."""
