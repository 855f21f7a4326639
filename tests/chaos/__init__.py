"""Faults on purpose: changed bytes, killed processes and full disks, and what the product does about them."""
