"""What a prior's prediction says of tokens."""
