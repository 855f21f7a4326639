"""Decides which documents are dropped and which split each belongs to: filters, secrets, duplicates, leakage."""
