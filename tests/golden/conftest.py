"""Where the tensors made by the 2021 code lie, and how a test gets at one case."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from smalti.formats.compvis import member as compvis
from smalti.formats.protocol import Imported, Wanted
from smalti.formats.source import open_source

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """One case: a folder with tensors that the 2021 code gave, and what they mean."""

    folder: Path

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "expected.safetensors")

    @cached_property
    def case(self) -> dict[str, Any]:
        return json.loads((self.folder / "case.json").read_text())

    @cached_property
    def config(self) -> dict[str, Any]:
        (path,) = (self.folder / "configs").glob("*-project.yaml")
        return yaml.safe_load(path.read_text())["model"]["params"]

    def imported(self, **wanted: Any) -> Imported:
        """The case's run folder, read as `smalti import` reads it; a model of its own each time."""
        return compvis.read(open_source(self.folder), Wanted(**wanted))

    def close(self, got: torch.Tensor, name: str, rows: Any = ...) -> None:
        """Whether a tensor is the case's, within what was measured for it; rows: an index of the case's."""
        measured = self.case["measured"][name]
        atol = 0.0 if measured[0] == "exact" else measured[3]
        torch.testing.assert_close(
            got.detach(), self.tensors[name][rows], atol=atol, rtol=0.0, msg=lambda text: f"{name}: {text}"
        )

    def state_dict(self, prefix: str = "") -> dict[str, torch.Tensor]:
        whole = open_source(self.folder).tensors
        return {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}


@pytest.fixture(scope="session")
def golden():
    """golden(case) -> Golden; skips the test where the material is absent."""

    def find(case: str) -> Golden:
        if not (GOLDEN / case).is_dir():
            pytest.skip("the golden tensors of the 2021 code are not beside this checkout")
        return Golden(GOLDEN / case)

    return find
