"""Configuration, DAG, runners, command line and read-only metadata queries."""

import modules  # noqa: F401  (sets up TensorFlow before TFX imports it)
