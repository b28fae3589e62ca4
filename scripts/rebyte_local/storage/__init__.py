"""State that outlives the process: one SQLite database and a folder of blobs."""
