"""What every command stands on: words in, one document out, its time, client and ledger."""
