"""HTML pages that a person watches in a browser."""
