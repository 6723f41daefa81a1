"""Trained weights of others: which there are and where they lie; how their files are read."""
