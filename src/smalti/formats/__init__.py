"""Other people's files, and ours: the members by name. See docs/importing.md."""

import smalti.formats.compvis.member as compvis
import smalti.formats.dalle_mini as dalle_mini
import smalti.formats.diffusers as diffusers
import smalti.formats.llamagen as llamagen
import smalti.formats.maskgit as maskgit
import smalti.formats.onnx.member as onnx
from smalti.formats.protocol import Format, Writer

FORMATS: dict[str, Format] = {  # asked in this order
    "diffusers": diffusers,
    "dalle_mini": dalle_mini,
    "llamagen": llamagen,
    "maskgit": maskgit,
    "compvis": compvis,  # last: some of its names are the others' too
}

WRITERS: dict[str, Writer] = {
    "compvis": compvis.write,
    "diffusers": diffusers.write,
    "onnx": onnx.write,
}

__all__ = ["FORMATS", "WRITERS"]
