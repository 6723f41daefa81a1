"""A text: byte-pair tokens of a caption, by a vocabulary that is learned of the data's captions."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import nn

from smalti.conditions.context import Padded, SameContext
from smalti.conditions.dropout import ConditionDropout
from smalti.conditions.protocol import Codec, Condition, is_list
from smalti.conditions.sentences import ENCODER, WIDTH, Sentences
from smalti.conditions.vocabulary import BYTES, PIECES, WORDS, Telling, Vocabulary, plain
from smalti.config import Positive, Share, settings
from smalti.errors import UserError, optional, shown

_SHOWN = 40  # characters of a text that are told


@settings
class TextSettings:
    """How captions are told."""

    kind: Literal["text"] = "text"
    vocabulary: Annotated[int, Ge(BYTES)] = 1000  # tokens at most, 256 of them single bytes
    max_tokens: Positive = 24  # of a caption: of the data's, what follows is cut off
    lower: bool = True  # capital letters count as small ones
    # a frozen encoder of sentences in place of a vocabulary and of lower: features of each of its tokens
    encoder: Literal["minilm"] | None = None
    encoder_folder: Path | None = None  # where it lies, as its publishers have it; None: in its package
    dropout: Share = 0.1  # of images shown without their caption; above 0 the model can be guided


class TextCondition(Condition):
    """Takes what is to be seen in words, which fills as many places as it has tokens: others are not seen.

    The vocabulary is learned of the training captions as a run begins, and kept with the model. Nothing is
    said where no place is filled.
    """

    argument: ClassVar[str | None] = "text"
    example = 'text="..."'
    is_padded = True

    def __init__(
        self, settings: TextSettings, tokenizer: Codec | None = None, part: nn.Module | None = None
    ) -> None:
        super().__init__(settings, tokenizer, part)
        self.vocabulary, self.features = (0, WIDTH) if settings.encoder else (settings.vocabulary, None)
        self.dropout = ConditionDropout(what="its text", share=settings.dropout, token=self.vocabulary)
        self._words: Telling | None = None  # learned, or read with the model

    @property
    def words(self) -> Telling:
        """Return the vocabulary or the encoder; UserError before there is one."""
        if self._words is None:
            raise UserError("a model with its vocabulary", "one without", "learn or load it first")
        return self._words

    def length(self, grid: tuple[int, int]) -> int:
        """Return as many places as the longest caption has tokens."""
        return int(self.settings.max_tokens)

    def from_user(self, value: Any, *, num: int, grid: tuple[int, int]) -> list[str]:
        """Return texts, of one for all or of a sequence of num of them.

        A word that no training caption had is told in a warning: what it means was never learned. UserError
        for a text that is missing, empty or too long, and for another count than num.
        """
        texts = [self._checked(one) for one in self.describe(value, num=num)]
        if len(texts) != num:
            raise UserError(f"one text, or {num} of them", f"{len(texts)}", "give one for each image")
        for text, tokens in zip(texts, self.words.tokens(texts), strict=True):
            if len(tokens) > self.settings.max_tokens:
                expected = f"a text of at most {self.settings.max_tokens} tokens"
                raise UserError(expected, f"{len(tokens)} in {_short(text)}", "say it in fewer words")
        unknown = dict.fromkeys(word for text in dict.fromkeys(texts) for word in self.words.unknown(text))
        if unknown:
            told = ", ".join(list(unknown)[:10])
            warnings.warn(f"no caption of the training had: {told}; nothing was learned of it", stacklevel=6)
        return texts

    def from_batch(self, batch: Any) -> list[str]:
        """Return the captions."""
        assert batch.texts is not None, "needs has looked"
        return [plain(text) for text in batch.texts]

    def encode(
        self, value: list[str], *, num: int, grid: tuple[int, int], device: torch.device
    ) -> SameContext:
        """Return the tokens of each text, the first ones of a longer one."""
        most, features = self.length(grid), [] if self.features is None else [self.features]
        rows = self.words.rows([row[:most] for row in self.words.tokens(value)], device)
        values = torch.zeros(num, most, *features, dtype=None if features else torch.int64)
        for row, told in enumerate(rows):
            values[row, : len(told)] = told
        mask = torch.arange(most) < torch.tensor([[len(row)] for row in rows])
        return SameContext(prefix=Padded(values=values.to(device), mask=mask.to(device)))

    @classmethod
    def needs(cls, settings: Any, data: Any, reader: Any) -> None:
        """See Condition: captions, and the package that makes tokens of them."""
        if "text" not in reader.gives:
            remedy = "data.captions=sidecar, names or a FILE.csv; or shards of such images"
            raise UserError("images with captions for condition.kind=text", f"none in {data.root}", remedy)
        if settings.encoder:
            Sentences.check(settings.encoder_folder)
        optional("tokenizers", extra="text")

    def learn(self, reader: Any) -> list[str]:
        """See Condition: tokens, and the words that are known; of a model that is there the words alone."""
        captions, settings = sorted({plain(text) for text in reader.captions()}), self.settings
        what = f"the model's own tokens, for {len(captions)} captions"
        if self._words is None and settings.encoder:
            self._words = Sentences((), settings.encoder_folder)
            what = f"features of {settings.encoder}, for {len(captions)} captions"
        elif self._words is None:
            self._words = made = Vocabulary.learn(captions, settings.vocabulary, lower=settings.lower)
            what = f"a vocabulary of {len(made)} tokens, learned of {len(captions)} captions"
        self._words.learn_words(captions)
        counts = [len(tokens) for tokens in self._words.tokens(captions)]
        most, cut = settings.max_tokens, sum(count > settings.max_tokens for count in counts)
        told = f"text: {what}; the longest has {max(counts, default=0)} tokens"
        return [f"{told}; {cut} have more than condition.max_tokens={most}, and are cut" if cut else told]

    @property
    def learned(self) -> tuple[str, ...]:
        """See Condition."""
        return (ENCODER if self.settings.encoder else PIECES, WORDS)

    def files(self) -> dict[str, str]:
        """See Condition."""
        return self.words.files()

    def take(self, files: Mapping[str, str]) -> None:
        """See Condition."""
        how = self.settings
        self._words = (
            Sentences.read(files, how.encoder_folder)
            if how.encoder
            else Vocabulary.read(files, how.vocabulary)
        )

    def told(self) -> str:
        """See Condition."""
        told, known = self.words.told(), len(self.words.words)
        return f"up to {self.settings.max_tokens} tokens of {told}, {known} words known"

    def from_option(self, given: str, fit: Any) -> Any:
        """Return a text of the command line as it is, or the lines of a .txt file."""
        path = Path(given)
        if path.suffix != ".txt":
            return given
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            got = " ".join(str(problem).split())
            raise UserError("a .txt file with a text in each line", got, "check the path") from None
        texts = [line for line in lines if line.strip()]
        if not texts:
            raise UserError("a .txt file with a text in each line", f"{path}, which has none", "write some")
        return texts

    def count(self, value: Any) -> int | None:
        """Return how many texts there are in a sequence; None for one."""
        return len(value) if is_list(value) else None

    def describe(self, value: Any, *, num: int) -> list[Any]:
        """Return the texts as they were given."""
        return [value] * num if self.count(value) is None else list(value)

    def _checked(self, text: Any) -> str:
        remedy = 'give text="..." (--text "..."), in the words of the training captions'
        if not isinstance(text, str) or not text.strip():
            raise UserError("a text", "none" if text is None else shown(text), remedy)
        return plain(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
