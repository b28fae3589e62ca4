"""Jobs made of several calls: start once, follow, wait, bring home."""
