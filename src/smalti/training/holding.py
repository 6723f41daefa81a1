"""Which images are held out of those that become token shards: those that the tokenizer never learned."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from smalti import config
from smalti.data import READERS
from smalti.data.folder import Folder, FolderSettings, share_for
from smalti.data.protocol import Reader
from smalti.data.splits import without_held_out
from smalti.errors import UserError
from smalti.pipeline import Pipeline
from smalti.sizes import Sizes
from smalti.tokenizer import Tokenizer
from smalti.training import folders

LEAST = 32  # held-out images below which their numbers say little


def find(
    root: Path, val: Path | None, share: float | None, tokenizer: Tokenizer
) -> tuple[FolderSettings, str]:
    """Return how to part the images of a folder, and in words why so.

    val, share: what the user asks for; None: as the tokenizer's training did, where it was on this folder.
    """
    if val is not None and share is not None:
        raise UserError("one of --val and --val-share", "both", "leave one of them out")
    if val is not None:
        return FolderSettings(root=root, val=val), f"{val} as asked for"
    if share is not None:
        plain = FolderSettings(root=root, val_share=share)
        found = without_held_out(Folder(plain, "train").splits)
        return FolderSettings(root=root, val_share=share, splits=found), f"a share of {share} as asked for"
    parted = as_trained(root, tokenizer)
    if parted is None:
        told = tokenizer.provenance.get("data")
        which = "was trained on another folder" if told else "does not say what it was trained on"
        return FolderSettings(root=root), f"by default: the tokenizer {which}"
    return parted, "as the tokenizer's training did"


def of_kind(
    kind: str, root: Path, val: Path | None, share: float | None, tokenizer: Tokenizer
) -> tuple[Any, str]:
    """Return what `find` does for data of another kind that hold images: archives, tables."""
    if val is not None and share is not None:
        raise UserError("one of --val and --val-share", "both", "leave one of them out")
    how, known = READERS[kind][0], {one.name for one in fields(READERS[kind][0])}
    if val is not None and "val" not in known:
        remedy = "--val-share, or name files as splits: train, val"
        raise UserError(f"data that may lie apart for --val, not of kind {kind}", str(val), remedy)
    asked = {"val": val, "val_share": share}
    given = {"root": root, **{name: value for name, value in asked.items() if value is not None}}
    if given.keys() != {"root"}:
        return how(**given), "as asked for"
    told = tokenizer.provenance.get("data")
    if not isinstance(told, dict) or told.get("kind") != kind or not _is_same(root, told.get("root")):
        return how(**given), "by default: the tokenizer was trained on others, or does not say on which"
    return config.parse({**told, "root": root}, how), "as the tokenizer's training did"


def as_trained(root: Path, model: Tokenizer | Pipeline) -> FolderSettings | None:
    """Return how a model's training parted the images of a folder; None where it was on another."""
    told = model.provenance.get("data")
    if not isinstance(told, dict) or not _is_same(root, told.get("root")):
        return None
    return _as_told(root, folders.as_begun({"data": told})["data"])


def as_made(kind: str, size: Sizes, models: Sequence[Tokenizer | Pipeline | None], /, **more: Any) -> Any:
    """Return how data are made: as for the first of some models' trainings that was on such.

    Else of a size, or several, in pixels. more: settings beside that.
    """
    told: list[Any] = [{} if one is None else one.provenance.get("data") or {} for one in models]
    given = next((dict(one) for one in told if one.get("kind") == kind), {"size": size})
    given.pop("kind", None)
    return config.parse({**given, **more}, READERS[kind][0])


def text(train: Reader, val: Reader, why: str, share: float | None) -> str:
    """Say for a person what is held out, and what to do where it is too little.

    share: what the user asked for, as in `find`; of 0 nobody need be warned.
    """
    lines = [f"held out: {len(val)} of {len(train) + len(val)} images, {why}"]
    if train.summary().note:
        lines.append(train.summary().note)
    if len(val) < LEAST and share != 0:
        share = _enough(train, val) if isinstance(train, Folder) and isinstance(val, Folder) else None
        remedy = f"--val-share {share}" if share else "--val DATA, with more images"
        lines.append(f"warning: below {LEAST} held-out images the numbers on them say little; {remedy}")
    return "\n".join(lines)


def _is_same(root: Path, told: Any) -> bool:
    return isinstance(told, str) and Path(told).resolve() == root.resolve()


def _as_told(root: Path, told: dict[str, Any]) -> FolderSettings:
    """Return what a tokenizer's settings of data say of this folder, for the classes that lie in it."""
    how = {
        name: told[name] for name in ("val", "val_share", "splits", "captions") if told.get(name) is not None
    }
    if told.get("classes") == "none" and "splits" in how and not how["splits"].get("train"):
        del how["splits"]  # it was told to take all images: that says nothing of folders that are splits
    where: FolderSettings = config.parse({"root": root, **how}, FolderSettings)
    if where.val is not None and not where.val.exists():
        got = f"{where.val}, which is not there"
        raise UserError("the folder that the model's training held out", got, "--val FOLDER or --val-share")
    return where


def _enough(train: Folder, val: Folder) -> float | None:
    """Return the share by which enough of these images are held out; None where there are too few."""
    apart = val.root != train.root or train.splits.val
    return share_for(train.paths if apart else [*train.paths, *val.paths], train.root, LEAST)
