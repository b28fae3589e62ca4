"""From a task that runs to its document."""
