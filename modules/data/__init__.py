"""Reads text, rows and TFDS data sets into documents, and documents back out of stored tf.Examples."""
