"""Conversion between text and token ids, equal in every runtime: vocabulary, BPE, and the tokens that count."""
