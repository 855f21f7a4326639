"""The smallest recipe of a run, for tests of settings."""

MINIMAL = """
name: poems
data: {source: "poems/*.txt"}
tokenizer: {vocabulary_size: 512}
model: {num_layers: 2, num_heads: 2, hidden_dim: 32, context_length: 32}
training: {steps: 10}
evaluation: {max_perplexity: 100}
"""
