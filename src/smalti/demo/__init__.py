"""The main job on shipped images: train, draw, measure, show."""
