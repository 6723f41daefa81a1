"""From logits of the next code to codes of whole canvases."""
