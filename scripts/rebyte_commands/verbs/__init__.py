"""One module per noun: what its verbs take and do. No module here imports another."""
