"""Publishes a blessed model as one release folder."""
