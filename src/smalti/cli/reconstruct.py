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
    """Send pictures through a tokenizer and back, into the folder OUT; prints each one's PSNR.

    Sides are cropped at the right and bottom to multiples of the factor.

    Example: smalti reconstruct runs/tokenizer photo.jpg reconstructed
    """
    import torch

    from smalti import images
    from smalti.evaluation.reconstruction import psnr

    new_folder(out)
    paths = images.find_pictures(image_or_dir)
    tokenizer = load_tokenizer(model, device)
    out.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(paths):
        picture = images.crop_to_multiple(images.open_rgb(path), tokenizer.factor)
        original = images.to_float(picture)[None].to(device)
        with torch.no_grad():
            rebuilt = tokenizer.reconstruct(original)
        target = out / f"{index:05}-{path.stem}.png"
        images.save_png(target, images.to_uint8(rebuilt)[0].cpu(), {"source": path.name})
        click.echo(f"{target}  {psnr(original, rebuilt).item():.2f} dB")
