"""`python -m smalti`, and what torchrun starts: the command `smalti`."""

from smalti.cli.main import main

main()
