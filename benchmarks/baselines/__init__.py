"""The algorithms of 2021 and of others, to measure against."""
