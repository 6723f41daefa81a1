"""Pictures to codes and back."""

from smalti.tokenizer.settings import NetworkSettings, TokenizerSettings
from smalti.tokenizer.tokenizer import Tokenizer

__all__ = ["NetworkSettings", "Tokenizer", "TokenizerSettings"]
