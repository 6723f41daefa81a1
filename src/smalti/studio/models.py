"""The opened models, by name. Without torch: they are loaded in the background while the page comes up."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti import shipped
from smalti.errors import UserError

if TYPE_CHECKING:
    from smalti.data.shards import TokenShards
    from smalti.pipeline import Pipeline
    from smalti.tokenizer import Tokenizer


def named(paths: Iterable[Path]) -> dict[str, Path]:
    """Return paths by the names that requests use: of each its last part, made different where two agree.

    Those that ship where none are given. UserError for a path where nothing is.
    """
    given = list(paths) or [Path(name) for name in shipped.models()]
    if not given:
        raise UserError("a model to open", "none, and none ships", "smalti studio MODEL")
    found: dict[str, Path] = {}
    for path in given:
        if not shipped.located(path).exists():
            ships = f", or one that ships: {', '.join(shipped.models())}" * bool(shipped.models())
            raise UserError(
                "a model folder or a run folder", f"{path}, which is not there", f"check it{ships}"
            )
        name = path.resolve().name if path.exists() else str(path)
        while name in found:
            name = f"{name}+"
        found[name] = path
    return found


class Models:
    """Loads models once, one after the other, and keeps them, with token shards of theirs."""

    def __init__(self, paths: Mapping[str, Path], shards: Sequence[Path] = ()) -> None:
        """shards: folders of `smalti encode`, in which pages are shown where a code occurs."""
        self.paths, self.folders = dict(paths), tuple(shards)
        self._shards: dict[str, list[TokenShards]] = {}  # by the tokenizer's fingerprint
        self._loaded: dict[str, Pipeline | Tokenizer] = {}
        self._told: list[dict[str, Any]] = []
        self.problem: Exception | None = None  # that kept one of them from being loaded
        self._ready = threading.Event()

    def load(self) -> None:
        """Load all; what goes wrong is kept as `problem`, and raised by whoever asks for a model."""
        try:
            from smalti import library  # with torch, which takes a second or two

            for folder in self.folders:
                self._read(folder)
            for name, path in self.paths.items():
                self.put(name, library.load(path))
            self._check_shards()
        except Exception as problem:  # noqa: BLE001  it is raised where it is asked for
            self.problem = problem
        self._ready.set()

    def put(self, name: str, model: "Pipeline | Tokenizer") -> None:
        """Keep a model under a name."""
        from smalti.studio import described

        self._loaded[name] = model
        self._told.append(described.model(name, model, with_shards=self._shards.keys()))

    def _read(self, folder: Path) -> None:
        """Keep shards; UserError for what is none."""
        from smalti.data.shards import ShardsSettings, TokenShards

        parts = [TokenShards(ShardsSettings(root=folder), split) for split in ("train", "val")]
        self._shards.setdefault(parts[0].tokenizer, []).extend(parts)

    def _check_shards(self) -> None:
        """UserError for shards of a tokenizer that is not opened."""
        from smalti.pipeline import tokenizer_of

        opened = {tokenizer_of(model).fingerprint for model in self._loaded.values()}
        for mark, parts in self._shards.items():
            if mark not in opened:
                got = f"those of {mark} in {parts[0].root}"
                raise UserError("shards of an opened model's tokenizer", got, "open the model that made them")

    def told(self) -> list[dict[str, Any]]:
        """Return what pages are told of all of them; waits until they are loaded."""
        self._wait()
        return self._told

    def get(self, name: str) -> "Pipeline | Tokenizer":
        """Return a model, waiting until it is loaded; UserError for a name that none has."""
        self._wait()
        if name not in self._loaded:
            raise UserError(
                f"one of the opened models, {', '.join(self.paths)}", name[:80], "name one of them"
            )
        return self._loaded[name]

    def pipeline(self, name: str) -> "Pipeline":
        """Return a model that draws; UserError for a tokenizer."""
        model = self.get(name)
        if model.kind != "generator":
            raise UserError("a model that draws", f"the tokenizer {name}", "open a model with a prior")
        return model  # type: ignore[return-value]  # the kind says it, without torch

    def shards(self, fingerprint: str) -> "list[TokenShards]":
        """Return the shards of a tokenizer; UserError where none are opened."""
        if fingerprint not in self._shards:
            raise UserError("token shards of this tokenizer", "none", "smalti studio MODEL --shards FOLDER")
        return self._shards[fingerprint]

    def _wait(self) -> None:
        self._ready.wait()
        if self.problem is not None:
            raise self.problem
