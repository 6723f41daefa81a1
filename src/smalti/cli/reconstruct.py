"""smalti reconstruct."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from smalti.cli.options import computing, load_tokenizer, starting
from smalti.cli.paths import MODEL, PATH
from smalti.cli.writing import RESUME, SUFFIXES, compare, prepare

if TYPE_CHECKING:
    import torch

    from smalti.tokenizer import Tokenizer


@click.command()
@click.argument("model", type=MODEL)
@click.argument("image_or_dir", type=PATH)
@click.argument("out", type=PATH)
@RESUME
@computing
def reconstruct(
    model: Path, image_or_dir: Path, out: Path, resume: bool, device: str, precision: str
) -> None:
    """Send images through a tokenizer and back, into OUT, a new or empty folder; prints each one's PSNR.

    A tokenizer of depth or edges takes images of such maps. One of segmentations takes label maps, whose
    values mean what they did in training (shifted, merged): the likeliest class of each pixel is written,
    coloured, and the share of pixels that are right is printed.
    One that was trained with data.range writes the numbers of its files: as PNG of 16 bits where they are
    whole, from 0 to 65535, and of 1 or 3 bands, else as TIFF, with the metadata in its description.
    Sides are cropped at the right and bottom to multiples of the factor. Each image is written as soon as
    it is done; where that was interrupted the same command with --resume makes the others.

    Several processes, which take the images in turn:
    torchrun --nproc-per-node=2 -m -- smalti reconstruct MODEL IMAGES OUT

    Example: smalti reconstruct runs/tokenizer photo.jpg reconstructed
    """
    with starting():
        from tqdm import tqdm

        from smalti import imaging, rounds, strategy

    way = strategy.current()
    with rounds.together(device) as where:
        prepare(out, resume=resume)
        with rounds.agreed():
            paths = imaging.find_images(image_or_dir)
            tokenizer = load_tokenizer(model, str(where), precision)
            work = _Rebuilding(tokenizer, image_or_dir, out, where)
            warning = work.warning(paths) if way.rank == 0 else None
            found = enumerate(paths) if way.rank == 0 else ()
            todo = [pair for pair in found if not (resume and work.is_done(*pair))]
        todo = way.collect(todo)[0]  # as process 0 found it, before one of them writes
        if warning:
            click.echo(warning, err=True)
        if len(todo) < len(paths):
            way.say(f"{len(paths) - len(todo)} of {len(paths)} images are there")
        own = (work(index, path) for index, path in todo[way.rank :: way.count])
        hidden = way.rank != 0 or None  # None: on a terminal only
        with tqdm(total=len(paths), initial=len(paths) - len(todo), unit="image", disable=hidden) as bar:
            for line in rounds.in_order(own):
                bar.update()
                if way.rank == 0:
                    tqdm.write(line)


class _Rebuilding:
    """What is done with each image."""

    def __init__(self, tokenizer: "Tokenizer", source: Path, out: Path, device: "torch.device") -> None:
        """source: the image, or the folder of all."""
        from smalti import library
        from smalti.precision import recorded
        from smalti.reading import writing
        from smalti.reading.pixels import PixelReading
        from smalti.training.contents import content

        self._tokenizer, self._out, self._device = tokenizer, out, device
        self._what = tokenizer.settings.content
        self._how = tokenizer.settings.pixels or PixelReading()
        self._is_deep = writing.is_needed(self._how)
        self._kind = content(self._what, tokenizer.channels)
        self._root = source if source.is_dir() else source.parent
        self._made_by = {"model": library.fingerprint(tokenizer), **recorded(tokenizer=tokenizer.dtype)}

    def warning(self, paths: Sequence[Path]) -> str | None:
        """Return what a person should know of the images, if anything."""
        from smalti.reading.labels import mixture

        return mixture(paths) if self._what == "segmentation" else None

    def is_done(self, index: int, path: Path) -> bool:
        """Return whether an image is there; UserError where another command wrote it."""
        stem = self._stem(index, path)
        there = [found for end in SUFFIXES if (found := stem.with_name(stem.name + end)).exists()]
        for found in there:
            compare(found, self._metadata(path))
        return bool(there)

    def __call__(self, index: int, path: Path) -> str:
        """Write an image as the tokenizer rebuilds it; gives its name, and how near it is."""
        from smalti import imaging, memory
        from smalti.conditions.map_files import open_for
        from smalti.metrics import METRICS
        from smalti.metrics.protocol import Measured
        from smalti.reading import writing

        tokenizer, stem = self._tokenizer, self._stem(index, path)
        original = imaging.crop_to_multiple(open_for(tokenizer, path), tokenizer.factor).to(self._device)
        with memory.needed(f"{path}, {original.shape[2]} x {original.shape[3]} pixels", _REMEDY):
            rebuilt = tokenizer.reconstruct(original, is_checked=True)
        sides = {"height": rebuilt.shape[2], "width": rebuilt.shape[3]}
        metadata = {**self._metadata(path), **sides}
        if self._is_deep:
            with_range = json.dumps({**metadata, "range": self._how.range})
            target = writing.file_values(rebuilt[0], self._how, with_range).save(stem)
        else:
            shown = self._kind.show(rebuilt)[0].cpu()
            target = imaging.save_png(stem.with_name(f"{stem.name}.png"), shown, metadata)
        fitting = [metric for member in METRICS.values() for metric in member.of(self._what, 0, {})]
        (metric,) = (metric for metric in fitting if metric.words)
        metric.update(Measured(real=original, fake=rebuilt))
        (number,) = metric.compute().values()
        return f"{target}  {metric.words.format(number)}"

    def _stem(self, index: int, path: Path) -> Path:
        return self._out / f"{index:05}-{path.stem}"

    def _metadata(self, path: Path) -> dict[str, Any]:
        """Return what is known before an image is rebuilt."""
        return {**self._made_by, "source": path.relative_to(self._root).as_posix()}


_REMEDY = "--precision bf16, or a smaller image; in Python encode and decode take tile=32"
