"""Small scenes of things on a ground, made from numbers: solids, figures, their colours and words."""
