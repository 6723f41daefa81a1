"""A run folder: where each file lies."""

from dataclasses import dataclass
from pathlib import Path

from smalti import library
from smalti.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """settings.yaml  classes.json  log.jsonl  samples/  checkpoints/  model/"""

    root: Path

    @property
    def settings(self) -> Path:
        """The recipe as it was resolved: what a resumed run reads."""
        return self.root / "settings.yaml"

    @property
    def classes(self) -> Path:
        """The names of the data's classes by number, as the run began: what a resumed run must find again."""
        return self.root / "classes.json"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def samples(self) -> Path:
        """Pictures, one file for each step at which some were drawn."""
        return self.root / "samples"

    @property
    def checkpoints(self) -> Path:
        """Where the run stands."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The newest model, a model folder."""
        return self.root / "model"

    def sheet(self, step: int) -> Path:
        """The sample sheet of a step."""
        return self.samples / f"step-{step:08d}.png"

    def model_step(self) -> int | None:
        """The steps after which the newest model was saved; None where there is no whole one."""
        try:
            steps = library.read_config(self.model).get("provenance", {}).get("steps")
        except (OSError, UserError):
            return None
        return None if steps is None else int(steps)

    def create(self) -> None:
        """Make the folder; UserError where it holds something already."""
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            remedy = "choose another out, or resume it: --resume (resume=True)"
            raise UserError("a new or empty run folder", f"{self.root}, which holds something", remedy)
        self.root.mkdir(parents=True, exist_ok=True)
