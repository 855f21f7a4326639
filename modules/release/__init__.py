"""Release folders and their manifests: writing, reading and finding them."""
