"""How the label maps were read that a tokenizer of 2021 was trained on: by its yaml's section `data`."""

from collections.abc import Mapping
from typing import Any

from smalti.formats.compvis import claims
from smalti.reading.labels import LabelReading


def find(config: Mapping[str, Any]) -> LabelReading | None:
    """Return the reading of the yaml's datasets; None where values are class numbers, or nothing is said.

    Their readers of COCO's maps add 1, so that 255 becomes class 0; others do where they are told to.
    """
    splits = claims.params(claims.section(config, "data"))
    readers = [claims.section(splits, name) for name in ("train", "validation", "test")]
    return LabelReading(shift=True) if any(map(_shifts, readers)) else None


def _shifts(reader: Mapping[str, Any]) -> bool:
    how, target = claims.params(reader), str(reader.get("target", ""))
    module, _, name = target.rpartition(".")
    if "shift_segmentation" in how:
        return bool(how["shift_segmentation"])
    if not module.endswith("data.coco"):
        return False
    return name == "Examples" or bool(how.get("use_stuffthing") and how.get("onehot_segmentation"))
