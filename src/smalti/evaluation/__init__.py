"""Numbers and reports about a model: how well it copies, how likely it finds pictures, how real they look."""
