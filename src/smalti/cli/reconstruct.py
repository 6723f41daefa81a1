"""smalti reconstruct."""

from pathlib import Path

import click

from smalti.cli.options import device, load_tokenizer, new_folder


@click.command()
@click.argument("model", type=Path)
@click.argument("image_or_dir", type=Path)
@click.argument("out", type=Path)
@device
def reconstruct(model: Path, image_or_dir: Path, out: Path, device: str) -> None:
    """Send pictures through a tokenizer and back, into OUT, a new or empty folder; prints each one's PSNR.

    Sides are cropped at the right and bottom to multiples of the factor. Each picture is written as soon as
    it is done.

    Example: smalti reconstruct runs/tokenizer photo.jpg reconstructed
    """
    import torch
    from tqdm import tqdm

    from smalti import images, library
    from smalti.evaluation.reconstruction import psnr

    new_folder(out)
    paths = images.find_pictures(image_or_dir)
    tokenizer = load_tokenizer(model, device)
    root = image_or_dir if image_or_dir.is_dir() else image_or_dir.parent
    made_by = library.fingerprint(tokenizer)
    for index, path in enumerate(tqdm(paths, unit="picture", disable=None)):
        picture = images.crop_to_multiple(images.open_rgb(path), tokenizer.factor)
        original = images.to_float(picture)[None].to(device)
        with torch.no_grad():
            rebuilt = tokenizer.reconstruct(original)
        target = out / f"{index:05}-{path.stem}.png"
        sides = {"height": rebuilt.shape[2], "width": rebuilt.shape[3]}
        facts = {"model": made_by, "source": path.relative_to(root).as_posix(), **sides}
        images.save_png(target, images.to_uint8(rebuilt)[0].cpu(), facts)
        tqdm.write(f"{target}  {psnr(original, rebuilt).item():.2f} dB")
