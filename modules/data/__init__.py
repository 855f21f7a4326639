"""Readers of documents from text, rows and TFDS data sets, and the writer and reader of stored tf.Examples."""
