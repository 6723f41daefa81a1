"""Byte-pair tokens of texts, learned of captions, and the words that these have."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from smalti.errors import UserError, optional

BYTES = 256  # tokens that are there before any is learned: with them any text can be written
PIECES, WORDS = "vocabulary.json", "words.json"  # the package's own file; a list
_WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """Return a text in one line, with single spaces."""
    return " ".join(text.split())


class Vocabulary:
    """Texts to tokens, as the package tokenizers has them; which words the captions had it was learned of."""

    def __init__(self, pieces: str, words: Iterable[str]) -> None:
        """pieces: the package's own file, which is read when the first text is."""
        self.pieces, self.words = pieces, frozenset(words)
        self._tokenizer: Any = None

    @classmethod
    def learn(cls, captions: Sequence[str], most: int, *, lower: bool) -> "Vocabulary":
        """Learn at most so many tokens of captions, each of which counts once, in whatever order they come.

        Byte-pair encoding of the bytes of words (arXiv:1508.07909). lower: capital letters count as small
        ones. UserError without the package.
        """
        parts = optional("tokenizers", extra="text")
        made = parts.Tokenizer(parts.models.BPE())
        forms = [parts.normalizers.NFKC(), *([parts.normalizers.Lowercase()] if lower else [])]
        made.normalizer = parts.normalizers.Sequence(forms)
        made.pre_tokenizer = parts.pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = parts.decoders.ByteLevel()
        alphabet = sorted(parts.pre_tokenizers.ByteLevel.alphabet())
        trainer = parts.trainers.BpeTrainer(
            vocab_size=most, min_frequency=2, initial_alphabet=alphabet, show_progress=False
        )
        captions = sorted(set(captions))
        made.train_from_iterator(captions, trainer)
        found = cls(made.to_str(), ())
        return found.knowing(captions)

    def knowing(self, captions: Iterable[str]) -> "Vocabulary":
        """Return the same tokens, with the words of more captions."""
        return Vocabulary(self.pieces, self.words.union(*map(_words, captions)))

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts. UserError without the package, and for a file that it cannot read."""
        return [one.ids for one in self._opened().encode_batch(list(texts))]

    def __len__(self) -> int:
        return int(self._opened().get_vocab_size())

    def unknown(self, text: str) -> list[str]:
        """Return the words of a text that no caption had, in its order."""
        return [word for word in dict.fromkeys(_words(text)) if word not in self.words]

    def files(self) -> dict[str, str]:
        """Return it as text files by name."""
        words = json.dumps(sorted(self.words), ensure_ascii=False, indent=0)
        return {PIECES: self.pieces, WORDS: words + "\n"}

    @classmethod
    def read(cls, files: Any) -> "Vocabulary":
        """Return it from such files; UserError where they hold something else."""
        try:
            words = json.loads(files[WORDS])
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError("no list of words")
        except ValueError as problem:
            raise UserError(f"a list of words in {WORDS}", str(problem), "copy the folder again") from None
        return cls(files[PIECES], words)

    def _opened(self) -> Any:
        if self._tokenizer is None:
            parts = optional("tokenizers", extra="text")
            try:
                self._tokenizer = parts.Tokenizer.from_str(self.pieces)
            except Exception as problem:  # noqa: BLE001  it raises no other
                got = " ".join(str(problem).split())[:120]
                raise UserError(f"a vocabulary in {PIECES}", got, "copy the folder again") from None
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
        return self._tokenizer


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
