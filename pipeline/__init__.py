"""Configuration, DAG, runners, command line and read-only metadata queries."""

import modules  # noqa: F401  (sets TensorFlow up, before TFX imports it)
