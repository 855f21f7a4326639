"""Read-only queries of ML Metadata, tables and plots of them, and the record of what a run was started with."""
