"""Many CTs into one table that can be resumed."""
