"""Rejection sampling: many are drawn, and a judge says which are kept."""
