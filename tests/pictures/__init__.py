"""The pictures of the docs, made again from a shop that is made up: `make pictures`."""
