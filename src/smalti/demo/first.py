"""What the model that ships draws, before anything is trained: the demo's first page."""

import time
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from smalti import imaging, library, shipped
from smalti.metrics.report import Report
from smalti.pipeline import Pipeline

MODEL = "emoji"
TEXTS = (  # none of them was trained
    "man cook: medium-dark skin tone",
    "woman judge: medium skin tone",
    "person: dark skin tone, blond hair",
    "man surfing: light skin tone",
)
EACH, GUIDANCE = 6, 3.0


class First:
    """Images of texts by the model that ships."""

    def __init__(self) -> None:
        begun = time.monotonic()
        model = library.load(shipped.models()[MODEL])
        assert isinstance(model, Pipeline), "what ships draws images"
        texts = [text for text in TEXTS for _ in range(EACH)]
        drawn = model.sample(num=len(texts), text=texts, seed=0, guidance_scale=GUIDANCE)
        self.images: Float[Tensor, "b 3 H W"] = drawn.tensors.clamp(-1, 1)
        self.seconds = time.monotonic() - begun

    def write(self, out: Path) -> Path:
        """Write images/shipped.png and a report.html of it alone, which the whole page will replace."""
        (out / "images").mkdir(parents=True)
        sheet = imaging.grid(imaging.to_uint8(self.images), columns=EACH)
        imaging.save_png(out / "images" / "shipped.png", sheet, {"texts": TEXTS, "guidance": GUIDANCE})
        report = Report("smalti demo: drawn by the model that ships; the training goes on")
        self.show(report)
        return report.save(out / "report.html")

    def show(self, report: Report) -> None:
        """Add the section to a page."""
        report.heading("Drawn by the model that ships")
        command = f'smalti sample {MODEL} OUT --text "{TEXTS[0]}" --num {EACH} --guidance {GUIDANCE:g}'
        report.text(
            f"{len(self.images)} images of {len(TEXTS)} texts, drawn in {self.seconds:.1f} seconds with "
            f"nothing trained: {command}"
        )
        sheet = imaging.grid(imaging.to_uint8(self.images), columns=EACH)
        report.image(imaging.to_pil(sheet[None])[0], f"Rows: {', '.join(TEXTS)}", zoom=2)
