"""Two or more CTs of one patient: what changed, how fast, and whether the technique allows the comparison."""
