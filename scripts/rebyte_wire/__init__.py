"""Below the client: how one request travels. Each module is imported by its own name."""
