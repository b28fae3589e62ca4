"""Running prompts: the queue, the workspace, the executors, the processes."""
