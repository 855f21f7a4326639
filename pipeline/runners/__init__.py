"""Runs the DAG on this machine, or compiles it for Vertex Pipelines."""
