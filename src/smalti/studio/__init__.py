"""The studio: a page to draw with, and the HTTP API that it speaks."""
