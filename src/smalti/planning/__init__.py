"""What a training takes of this machine, said before it begins: `smalti plan`."""
