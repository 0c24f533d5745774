"""Strings to ids: vocabulary, tokenisation, word segmentation."""
