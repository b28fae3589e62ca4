"""Paid starts: what is sent, written down before it leaves, and never sent twice."""
