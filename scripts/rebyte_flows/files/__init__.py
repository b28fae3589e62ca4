"""Files out and artifacts home."""
