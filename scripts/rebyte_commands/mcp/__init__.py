"""The same jobs over the Model Context Protocol, for hosts that have no shell."""
