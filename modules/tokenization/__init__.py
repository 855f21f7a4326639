"""Text to token ids and back, the same in every runtime: vocabulary, BPE, and which tokens of an example count."""
