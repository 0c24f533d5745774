"""The transformers that can teach, each a keras-nlp backbone with the names that others give its weights."""
