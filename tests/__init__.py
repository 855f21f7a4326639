import modules  # noqa: F401  (sets TensorFlow up, before anything imports it)
