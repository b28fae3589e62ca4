"""Answers of a given shape: schema, extraction, faults, and one table of many."""
