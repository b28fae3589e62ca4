"""The routes of the API: a module per noun, and the table that leads to them."""
