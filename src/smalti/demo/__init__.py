"""The main job on shipped pictures: train, draw, measure, show."""
