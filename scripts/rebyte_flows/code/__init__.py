"""Code there and back: a working tree out as one archive, and what comes home as a commit."""
