"""How the values of a user's files are read: what a model was trained with, and keeps."""
