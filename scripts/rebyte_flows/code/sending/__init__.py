"""The tree out: what is sent, what stays home, and the archive of it."""
