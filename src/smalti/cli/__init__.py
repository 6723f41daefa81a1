"""The commands: arguments, one call, print."""
