"""Runners of the DAG: on this machine, or compiled for Vertex Pipelines."""
