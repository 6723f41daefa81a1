"""The demo's evidence as one page, and its images as PNG files."""

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from smalti import imaging
from smalti.demo.evidence import CLASSES, DRAW, EACH, Evidence
from smalti.metrics.report import Report

CANVAS = (64, 512)  # pixels of the large canvases: 16 times wider than the training crop
COLUMNS = 12  # images a row


class Page:
    """Fills report.html, images/ and numbers.json in the demo's folder."""

    def __init__(self, evidence: Evidence, out: Path) -> None:
        self.evidence, self.out = evidence, out
        self.report = Report("smalti demo: eight photographs, and new images of them")
        (out / "images").mkdir()

    def write(self, seconds: float) -> Path:
        """Write everything; gives the path of the page. seconds: what training and drawing took so far."""
        self.report.text(
            "A VQGAN learned a codebook from crops of eight photographs; a transformer learned how the codes "
            "lie beside each other in each of them. The right fifth of every photograph was held out. "
            f"Crops are {self.evidence.crop} x {self.evidence.crop} pixels. Everything here was drawn or "
            f"measured by the run that wrote this page; training had taken {seconds:.0f} seconds by then."
        )
        for section in (self._samples, self._canvases, self._completions, self._reconstructions):
            section()
        self._numbers()
        self._training()
        return self.report.save(self.out / "report.html")

    def _samples(self) -> None:
        self.report.heading("Samples")
        half = COLUMNS // 2
        pick = torch.arange(half)[None] * (EACH // half) + EACH * torch.arange(len(CLASSES))[:, None]
        rows = torch.cat([self.evidence.real.images[pick], self.evidence.samples.images[pick]], dim=1)
        how = ", ".join(f"{name}={value}" for name, value in DRAW.items())
        caption = f"Left half: real training crops. Right half: drawn ({how}). Rows: {', '.join(CLASSES)}"
        self._image("samples", rows.flatten(0, 1), caption)

    def _canvases(self) -> None:
        self.report.heading("Larger than any training crop")
        names = ("brick", "stars", "tissue")
        drawn = self.evidence.model.sample(num=3, size=CANVAS, label=names, seed=7, **DRAW).tensors
        for name, canvas in zip(names, drawn, strict=True):
            caption = f"{name}, {CANVAS[1]} x {CANVAS[0]} pixels, drawn by the sliding window"
            self._image(f"canvas-{name}", canvas[None], caption, columns=1)

    def _completions(self) -> None:
        self.report.heading("Completions")
        rows = []
        for label in range(len(CLASSES)):
            original = self.evidence.held_out.images[label * EACH + EACH // 2][None]
            kept = original.clone()
            kept[:, :, self.evidence.crop // 2 :] = -1
            made = self.evidence.model.complete(original, num=4, seed=50, label=label, **DRAW).tensors
            rows.append(torch.cat([original, kept, made]))
        caption = "A held-out crop, the half of it that is kept, four ways to go on; two crops a row"
        self._image("completions", torch.cat(rows), caption)

    def _reconstructions(self) -> None:
        self.report.heading("Reconstructions of held-out crops")
        pick = torch.arange(0, EACH * len(CLASSES), EACH // 3)
        pairs = torch.stack([self.evidence.held_out.images[pick], self.evidence.rebuilt[pick]], dim=1)
        self._image("reconstructions", pairs.flatten(0, 1), "Pairs: a crop, and what came out of its codes")

    def _numbers(self) -> None:
        self.report.heading("Numbers")
        rows = self.evidence.numbers()
        self.report.table(("what", "value", "beside"), rows)
        self.report.text(
            "lite0-FD is the Frechet distance of pooled EfficientNet-Lite0 features. It is not FID; with so "
            "few images it is large even between real ones. The HED distance is a distance on "
            "a VGG16 trunk tuned to find edges. It is not LPIPS."
        )
        metadata = {what: value for what, value, _ in rows}
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
