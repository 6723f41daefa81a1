"""The demo's evidence as one page, and its images as PNG files."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import imaging
from smalti.demo.first import First
from smalti.demo.photographs import PHOTOGRAPHS
from smalti.evaluation import table
from smalti.evaluation.evidence import Side
from smalti.evaluation.page import nearest_training_images
from smalti.evaluation.run import Evaluation
from smalti.files import evenly
from smalti.metrics.report import Report
from smalti.pipeline import Pipeline

CANVAS = (64, 512)  # pixels of the large canvases: 16 times wider than the training crop
COLUMNS = 12  # images a row
CLASSES = tuple(PHOTOGRAPHS)
DRAW: dict[str, Any] = {"top_p": 0.95, "guidance_scale": 1.5}  # how samples are drawn


class Page:
    """Fills report.html, images/ and numbers.json in the demo's folder."""

    def __init__(self, model: Pipeline, rebuilt: Evaluation, drawn: Evaluation, out: Path) -> None:
        """rebuilt, drawn: the tokenizer's and the prior's evaluation."""
        self.model, self.rebuilt, self.drawn, self.out = model, rebuilt, drawn, out
        self.crop = model.crop_size[0]  # pixels
        self.report = Report("smalti demo: eight photographs, and new images of them")

    def write(self, seconds: float, first: First) -> Path:
        """Write everything; gives the path of the page. seconds: what training and drawing took so far."""
        first.show(self.report)
        self.report.text(
            "A VQGAN learned a codebook from crops of eight photographs; a transformer learned how the codes "
            "lie beside each other in each of them. The right fifth of every photograph was held out. "
            f"Crops are {self.crop} x {self.crop} pixels. Everything here was drawn or "
            f"measured by the run that wrote this page; training had taken {seconds:.0f} seconds by then."
        )
        for section in (self._samples, self._canvases, self._completions, self._reconstructions):
            section()
        self._numbers()
        self._training()
        return self.report.save(self.out / "report.html")

    def _samples(self) -> None:
        self.report.heading("Samples")
        real, drawn = self.drawn.evidence.train, self.drawn.evidence.fake
        assert real is not None, "the demo knows what it learned from"
        rows = [
            torch.cat([side.show(_of_class(side, label, COLUMNS // 2)) for side in (real, drawn)])
            for label in range(len(CLASSES))
        ]
        how = ", ".join(f"{name}={value}" for name, value in DRAW.items())
        caption = f"Left half: real training crops. Right half: drawn ({how}). Rows: {', '.join(CLASSES)}"
        self._image("samples", torch.cat(rows), caption)
        nearest_training_images(self.report, self.drawn.evidence)

    def _canvases(self) -> None:
        self.report.heading("Larger than any training crop")
        names = ("brick", "stars", "tissue")
        drawn = self.model.sample(num=3, size=CANVAS, label=names, seed=7, **DRAW).tensors
        for name, canvas in zip(names, drawn, strict=True):
            caption = f"{name}, {CANVAS[1]} x {CANVAS[0]} pixels, drawn by the sliding window"
            self._image(f"canvas-{name}", canvas[None], caption, columns=1)

    def _completions(self) -> None:
        self.report.heading("Completions")
        rows, held_out = [], self.drawn.evidence.real
        for label in range(len(CLASSES)):
            original = held_out.show(_of_class(held_out, label, 3)[1:2])
            kept = original.clone()
            kept[:, :, self.crop // 2 :] = -1
            made = self.model.complete(original, num=4, seed=50, label=label, **DRAW).tensors
            rows.append(torch.cat([original, kept, made]))
        caption = "A held-out crop, the half of it that is kept, four ways to go on; two crops a row"
        self._image("completions", torch.cat(rows), caption)

    def _reconstructions(self) -> None:
        self.report.heading("Reconstructions of held-out crops")
        real, fake = self.rebuilt.evidence.real, self.rebuilt.evidence.fake
        rows = evenly(range(real.count), 2 * COLUMNS)
        pairs = torch.stack([real.show(rows), fake.show(rows)], dim=1)
        self._image("reconstructions", pairs.flatten(0, 1), "Pairs: a crop, and what came out of its codes")

    def _numbers(self) -> None:
        self.report.heading("Numbers")
        metadata: dict[str, float] = {}
        parts = {"reconstructions of held-out crops": self.rebuilt, "drawn images": self.drawn}
        for what, found in parts.items():
            numbers = found.record.numbers
            self.report.text(f"{what}, {found.evidence.fake.count} of them:")
            rows = [(name, one.title, table.shown(one), table.beside(one)) for name, one in numbers.items()]
            self.report.table(("number", "what it is", "value", "beside"), rows)
            metadata |= {f"{what}: {name}": one.value for name, one in numbers.items()}
        self.report.text(
            "A Frechet distance of other features than Inception's is not FID; with so few images it is "
            "large even between real ones. The HED distance is a distance on a VGG16 trunk tuned to find "
            "edges; LPIPS is the field's. How each number was measured stands in evaluation/."
        )
        (self.out / "numbers.json").write_text(json.dumps(metadata, indent=2) + "\n")

    def _training(self) -> None:
        self.report.heading("Training")
        for run in ("tokenizer", "prior"):
            lines = [json.loads(line) for line in (self.out / run / "log.jsonl").read_text().splitlines()]
            names = sorted({name for line in lines for name in line if name.startswith("loss/")})
            curves = {name: [(line["step"], line[name]) for line in lines if name in line] for name in names}
            self.report.curve(curves, f"{run}: losses by step")

    def _image(
        self, name: str, images: Float[Tensor, "b 3 H W"], caption: str, columns: int = COLUMNS
    ) -> None:
        sheet = imaging.grid(imaging.to_uint8(images.clamp(-1, 1)), columns=columns)
        imaging.save_png(self.out / "images" / f"{name}.png", sheet, {})
        self.report.image(imaging.to_pil(sheet[None])[0], caption, zoom=2)


def _of_class(side: Side, label: int, count: int) -> list[int]:
    """Return rows of some images of a class, evenly over them."""
    return evenly([row for row in range(side.count) if side.labels[row] == label], count)
