"""What stands for an image: how tokens lie, and how each is chosen."""
