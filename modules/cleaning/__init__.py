"""Cleaning of a corpus: drops documents and assigns the rest to splits; filters, secrets, duplicates, leakage."""
