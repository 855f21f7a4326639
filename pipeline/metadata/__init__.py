"""Read-only queries of ML Metadata, tables and plots of their results, and the record of a run's settings and code."""
