"""The format of CompVis/taming-transformers, and of CompVis/latent-diffusion's first stages."""

from smalti.formats.compvis.reading import describe, read, recognises
from smalti.formats.compvis.writing import write

__all__ = ["describe", "read", "recognises", "write"]
