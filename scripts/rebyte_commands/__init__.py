"""What the shell sees: one module per noun, reached through the verb table."""
