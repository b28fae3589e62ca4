"""One page to look at: what tasks came to, from the folder that holds it."""
