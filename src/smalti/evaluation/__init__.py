"""How good a model is, or a folder of images: numbers with their protocol, a record, a page."""
