"""The pictures of the docs, taken from a fictional shop: `make pictures`."""
