"""smalti reconstruct."""

import json
from pathlib import Path

import click

from smalti.cli.options import computing, load_tokenizer, new_folder, starting
from smalti.cli.paths import MODEL, PATH


@click.command()
@click.argument("model", type=MODEL)
@click.argument("image_or_dir", type=PATH)
@click.argument("out", type=PATH)
@computing
def reconstruct(model: Path, image_or_dir: Path, out: Path, device: str, precision: str) -> None:
    """Send images through a tokenizer and back, into OUT, a new or empty folder; prints each one's PSNR.

    A tokenizer of depth or edges takes images of such maps. One of segmentations takes label maps, whose
    values mean what they did in training (shifted, merged): the likeliest class of each pixel is written,
    coloured, and the share of pixels that are right is printed.
    One that was trained with data.range writes the numbers of its files: as PNG of 16 bits where they are
    whole, from 0 to 65535, and of 1 or 3 bands, else as TIFF, with the metadata in its description.
    Sides are cropped at the right and bottom to multiples of the factor. Each image is written as soon as
    it is done.

    Example: smalti reconstruct runs/tokenizer photo.jpg reconstructed
    """
    with starting():
        from tqdm import tqdm

        from smalti import imaging, library, memory
        from smalti.conditions.map_files import open_for
        from smalti.metrics import METRICS
        from smalti.metrics.protocol import Measured
        from smalti.precision import recorded
        from smalti.reading import writing
        from smalti.reading.labels import mixture
        from smalti.reading.pixels import PixelReading
        from smalti.training.contents import content

    new_folder(out)
    paths = imaging.find_images(image_or_dir)
    tokenizer = load_tokenizer(model, device, precision)
    what = tokenizer.settings.content
    warning = mixture(paths) if what == "segmentation" else None
    if warning:
        click.echo(warning, err=True)
    how = tokenizer.settings.pixels or PixelReading()
    deep = writing.is_needed(how)
    kind = content(what, tokenizer.channels)
    root = image_or_dir if image_or_dir.is_dir() else image_or_dir.parent
    made_by = {"model": library.fingerprint(tokenizer), **recorded(tokenizer=tokenizer.dtype)}
    for index, path in enumerate(tqdm(paths, unit="image", disable=None)):
        original = imaging.crop_to_multiple(open_for(tokenizer, path), tokenizer.factor).to(device)
        with memory.needed(f"{path}, {original.shape[2]} x {original.shape[3]} pixels", _REMEDY):
            rebuilt = tokenizer.reconstruct(original, is_checked=True)
        stem = out / f"{index:05}-{path.stem}"
        sides = {"height": rebuilt.shape[2], "width": rebuilt.shape[3]}
        metadata = {**made_by, "source": path.relative_to(root).as_posix(), **sides}
        if deep:
            found = writing.file_values(rebuilt[0], how, json.dumps({**metadata, "range": how.range}))
            target = found.save(stem)
        else:
            shown = kind.show(rebuilt)[0].cpu()
            target = imaging.save_png(stem.with_name(f"{stem.name}.png"), shown, metadata)
        fitting = [metric for member in METRICS.values() for metric in member.of(what, 0, {})]
        (metric,) = (metric for metric in fitting if metric.words)
        metric.update(Measured(real=original, fake=rebuilt))
        (number,) = metric.compute().values()
        tqdm.write(f"{target}  {metric.words.format(number)}")


_REMEDY = "--precision bf16, or a smaller image; in Python encode and decode take tile=32"
