"""MiniLM: sentences to vectors in which likeness of meaning is the cosine. Not a Space: it sees no images."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from smalti.errors import UserError, optional
from smalti.weights.catalogue import WEIGHTS, digest

_WORDS, _PLACES, _BLOCKS, _HEADS, _HIDDEN = 30522, 512, 6, 12, 1536
_MOST = 256  # tokens of a sentence; what follows is cut off, as its publishers do
_FILES = ("model.safetensors", "tokenizer.json")
_NAMES = (  # BERT's, and ours
    ("embeddings.word_embeddings", "words"),
    ("embeddings.position_embeddings", "places"),
    ("embeddings.token_type_embeddings", "sentences"),
    ("embeddings.LayerNorm", "norm"),
    ("encoder.layer.", "blocks."),
    ("attention.self.", ""),
    ("attention.output.", "attended."),
    ("intermediate.dense", "hidden"),
    ("LayerNorm", "norm"),
)


class MiniLM(nn.Module):
    """The encoder all-MiniLM-L6-v2 of 22.7 M parameters (arXiv:2002.10957, trained as arXiv:1908.10084).

    BERT's six blocks, normalised after each sum; a sentence is the mean of its tokens, scaled to length 1.
    """

    name: ClassVar[str] = "minilm"  # in WEIGHTS
    width = 384  # numbers of a vector

    def __init__(self) -> None:
        super().__init__()
        self.digest = ""  # sha256 of the file that was read; "" without one
        self.weights = ""  # of the tensors in it, which are the same in a package and in a folder
        self.words = nn.Embedding(_WORDS, self.width)
        self.places = nn.Embedding(_PLACES, self.width)
        self.sentences = nn.Embedding(2, self.width)  # the first or the second of two: here the first
        self.norm = nn.LayerNorm(self.width, eps=1e-12)
        self.blocks = nn.ModuleList(_Block(self.width) for _ in range(_BLOCKS))
        self._tokenizer: Any = None  # of the package tokenizers: sentences -> numbers of tokens

    @classmethod
    def read(cls, path: Path | None = None) -> "MiniLM":
        """Return the network with the weights of a zip file, or of a folder as its publishers have it.

        path: None: of the file that `WEIGHTS` finds.
        Raises UserError for a file that is missing or holds something else, and without the package
        tokenizers.
        """
        tokenizers = optional("tokenizers", extra="text")
        found = WEIGHTS[cls.name].find() if path is None else path
        with torch.device("meta"):  # draws no numbers
            network = cls()
        try:
            state, words = _contents(found)
            network.take(load(state))
            network._tokenizer = tokenizers.Tokenizer.from_str(words.decode())
        except (OSError, KeyError, zipfile.BadZipFile, SafetensorError, RuntimeError) as problem:
            got = " ".join(str(problem).split())[:120]
            raise UserError(f"the weights and words of MiniLM in {found}", got, "get the file anew") from None
        network._tokenizer.no_padding()  # its file pads to 128 tokens, and cuts there
        network._tokenizer.enable_truncation(_MOST)
        network.digest = digest(found / _FILES[0] if found.is_dir() else found)
        network.weights = hashlib.sha256(state).hexdigest()
        return network

    def take(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of a file, in the names that BERT has for them."""
        without = ("pooler.", "embeddings.position_ids")  # of another task; numbers that count up
        own = {name: tensor for name, tensor in state.items() if not name.startswith(without)}
        for theirs, ours in _NAMES:
            own = {name.replace(theirs, ours): tensor for name, tensor in own.items()}
        self.load_state_dict(own, assign=True)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], batch: int = 64) -> Float[Tensor, "n d"]:
        """Return the vectors of sentences, of length 1; their cosine is about 1 where they say the same.

        batch: how many go through the network at a time; the values depend on it by rounding alone.
        """
        found = []
        for start in range(0, len(texts), batch):
            rows = self.tokens(texts[start : start + batch])
            tokens = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
            lengths = torch.tensor([len(row) for row in rows])
            found.append(self(tokens, torch.arange(tokens.shape[1]) < lengths[:, None]))
        return torch.cat(found) if found else torch.zeros(0, self.width)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of sentences, with the two that BERT puts around them."""
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]

    def forward(self, tokens: Int64[Tensor, "b m"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        """Return the vectors of sentences of m tokens, of which those outside the mask are none."""
        x = self.states(tokens, mask)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)

    def states(self, tokens: Int64[Tensor, "b m"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
        """Return features of each token, of which `forward` takes the mean."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.words(tokens) + self.places(places) + self.sentences.weight[0])
        for block in self.blocks:
            x = block(x, mask)
        return x


def _contents(found: Path) -> tuple[bytes, bytes]:
    """Return weights and words of a folder or a zip file."""
    if found.is_dir():
        return (found / _FILES[0]).read_bytes(), (found / _FILES[1]).read_bytes()
    with zipfile.ZipFile(found) as file:
        return file.read(_FILES[0]), file.read(_FILES[1])


class _Block(nn.Module):
    """Attention, then two layers, each added and normalised."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.attended = _Sum(width, width)
        self.hidden = nn.Linear(width, _HIDDEN)
        self.output = _Sum(_HIDDEN, width)

    def forward(self, x: Float[Tensor, "b m d"], mask: Bool[Tensor, "b m"]) -> Float[Tensor, "b m d"]:
        """Return features to features."""
        parts = (part(x) for part in (self.query, self.key, self.value))
        query, key, value = (part.unflatten(-1, (_HEADS, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        x = self.attended(seen.transpose(1, 2).flatten(2), x)
        return self.output(F.gelu(self.hidden(x)), x)


class _Sum(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, out), nn.LayerNorm(out, eps=1e-12)

    def forward(self, x: Float[Tensor, "b m e"], before: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
        return self.norm(self.dense(x) + before)
