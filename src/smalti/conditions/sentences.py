"""Texts as a frozen encoder of sentences has them: features of each token, which a prior projects.

Of each token, not of the whole: a vector of a sentence is trained to say what it is about, and hardly says
which colour goes with which thing; attention can look where it is said (compare arXiv:2205.11487, 2.1).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from smalti.conditions.vocabulary import Telling, read_words
from smalti.errors import UserError, optional
from smalti.features.minilm import MiniLM
from smalti.weights.catalogue import WEIGHTS

ENCODER = "encoder.json"  # which weights a model was trained with
WIDTH = MiniLM.width


class Sentences(Telling):
    """MiniLM, read when the first text is, out of its package or a folder; it is not saved with a model."""

    def __init__(self, words: Iterable[str], folder: Path | None, weights: str = "") -> None:
        """folder: where it lies; None, or where that is gone: its package. weights: their hash; "": any."""
        super().__init__(words)
        self._folder, self._weights = folder, weights
        self._network: MiniLM | None = None

    @classmethod
    def read(cls, files: Mapping[str, str], folder: Path | None) -> "Sentences":
        """Return it from its files; UserError where they hold something else."""
        try:
            weights = str(json.loads(files[ENCODER])["weights"])
        except (ValueError, KeyError, TypeError, RecursionError) as problem:
            raise UserError(
                f"a hash of weights in {ENCODER}", str(problem), "copy the folder again"
            ) from None
        return cls(read_words(files), folder, weights)

    @staticmethod
    def check(folder: Path | None) -> None:
        """Raise UserError where its package or its weights are missing; reads none."""
        optional("tokenizers", extra="text")
        if folder is None:
            WEIGHTS[MiniLM.name].find()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """See Telling. UserError where it is missing, or another than the model was trained with."""
        return self._read().tokens(texts)

    def rows(self, tokens: Sequence[Sequence[int]], device: torch.device) -> list[Tensor]:
        """See Telling: features of each token, n d of a text of n."""
        network = self._read().to(device)
        rows = [torch.tensor(row, dtype=torch.int64) for row in tokens]
        given = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        with torch.no_grad():
            mask = torch.arange(given.shape[1], device=device) < lengths[:, None]
            states = network.states(given, mask)
        return [state[: len(row)] for state, row in zip(states, rows, strict=True)]

    def files(self) -> dict[str, str]:
        """See Telling."""
        weights = self._weights or self._read().weights
        return {ENCODER: json.dumps({"name": MiniLM.name, "weights": weights}) + "\n", **self.known()}

    def told(self) -> str:
        """See Telling."""
        return MiniLM.name

    def _read(self) -> MiniLM:
        if self._network is None:
            folder = self._folder if self._folder is not None and self._folder.exists() else None
            found = MiniLM.read(folder)
            if self._weights not in ("", found.weights):
                expected = f"MiniLM with the weights {self._weights[:8]}, as the model was trained with"
                raise UserError(expected, found.weights[:8], WEIGHTS[MiniLM.name].command)
            self._network = found
        return self._network
