"""The agent programs of this machine: how each is called, what its stream says, what it may do."""
