"""Texts as a prior sees them: byte-pair tokens learned of captions, and the words that these have."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.errors import UserError, optional

BYTES = 256  # tokens that are there before any is learned: with them any text can be written
PIECES, WORDS = "vocabulary.json", "words.json"  # the package's own file; a list
_WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """Return a text in one line, with single spaces."""
    return " ".join(text.split())


class Telling(ABC):
    """How texts are told, and which words the captions had that a model learned of."""

    def __init__(self, words: Iterable[str]) -> None:
        self.words = frozenset(words)

    @abstractmethod
    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts. UserError without the package."""

    def rows(self, tokens: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
        """Return of the tokens of each text what a prior sees: themselves, or features of each."""
        return [torch.tensor(row, dtype=torch.int64) for row in tokens]

    @abstractmethod
    def files(self) -> dict[str, str]:
        """Return it as text files by name."""

    @abstractmethod
    def told(self) -> str:
        """Return for a person what tokens are of."""

    def learn_words(self, captions: Iterable[str]) -> None:
        """Know the words of more captions."""
        self.words = self.words.union(*map(_words, captions))

    def unknown(self, text: str) -> list[str]:
        """Return the words of a text that no caption had, in its order."""
        return [word for word in dict.fromkeys(_words(text)) if word not in self.words]

    def known(self) -> dict[str, str]:
        """Return the words as a text file."""
        return {WORDS: json.dumps(sorted(self.words), ensure_ascii=False, indent=0) + "\n"}


class Vocabulary(Telling):
    """Texts to tokens, as the package tokenizers has them."""

    def __init__(self, pieces: str, words: Iterable[str], most: int) -> None:
        """pieces: the package's own file, which is read when the first text is. most: tokens in it."""
        super().__init__(words)
        self.pieces, self.most = pieces, most
        self._tokenizer: Any = None

    @classmethod
    def learn(cls, captions: Iterable[str], most: int, *, lower: bool) -> "Vocabulary":
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
        found = cls(made.to_str(), (), most)
        found.learn_words(captions)
        return found

    @classmethod
    def read(cls, files: Mapping[str, str], most: int) -> "Vocabulary":
        """Return it from such files, of at most so many tokens; UserError where they hold something else."""
        return cls(files[PIECES], read_words(files), most)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """See Telling. UserError for a file that it cannot read, or that has too many tokens."""
        return [one.ids for one in self._opened().encode_batch(list(texts))]

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return str(self._opened().decode(list(tokens)))

    def __len__(self) -> int:
        return int(self._opened().get_vocab_size())

    def files(self) -> dict[str, str]:
        """See Telling."""
        return {PIECES: self.pieces, **self.known()}

    def told(self) -> str:
        """See Telling."""
        return str(self.most)

    def _opened(self) -> Any:
        if self._tokenizer is None:
            parts = optional("tokenizers", extra="text")
            try:
                found = parts.Tokenizer.from_str(self.pieces)
            except Exception as problem:  # noqa: BLE001  it raises no other
                got = " ".join(str(problem).split())[:120]
                raise UserError(f"a vocabulary in {PIECES}", got, "copy the folder again") from None
            count = found.get_vocab_size()
            if count > self.most:
                expected = f"a vocabulary of at most {self.most} tokens"
                raise UserError(expected, str(count), "copy the folder again")
            found.no_padding()
            found.no_truncation()
            self._tokenizer = found
        return self._tokenizer


def read_words(files: Mapping[str, str]) -> list[str]:
    """Return the words of such files; UserError where they are none."""
    try:
        words = json.loads(files[WORDS])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("no list of words")
    except (ValueError, RecursionError) as problem:
        raise UserError(f"a list of words in {WORDS}", str(problem), "copy the folder again") from None
    return words


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
