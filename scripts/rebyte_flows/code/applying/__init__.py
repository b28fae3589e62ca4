"""Changes into the working tree, all or nothing."""
