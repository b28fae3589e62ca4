"""HTTP/1.1 as the server speaks it; knows nothing of tasks."""
