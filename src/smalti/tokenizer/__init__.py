"""Images to codes and back."""

from smalti.tokenizer.settings import AnyNetworkSettings, MaskgitSettings, NetworkSettings, TokenizerSettings
from smalti.tokenizer.tokenizer import Tokenizer

__all__ = ["AnyNetworkSettings", "MaskgitSettings", "NetworkSettings", "Tokenizer", "TokenizerSettings"]
