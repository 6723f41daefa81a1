"""An imported tokenizer of segmentations knows whether its training added 1 to the values of maps."""

import pytest
import torch
import yaml
from tiny import NETWORK

import smalti
from smalti.formats.compvis.writing import write
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.reading.labels import LabelReading
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

COCO = {"target": "taming.data.coco.CocoImagesAndCaptionsTrain"}
STUFF = {**COCO, "params": {"size": 296, "onehot_segmentation": True, "use_stuffthing": True}}
SHIFTED = LabelReading(shift=True)
AS_THEY_ARE = "values of label maps: as they are (--shift if training added 1 to them)"
WITH_1 = "values of label maps: 1 is added (255 becomes 0) (--no-shift if not)"


@pytest.fixture
def theirs(home):
    """A run folder of theirs with a tokenizer of five classes; gives a function that sets its datasets."""
    torch.manual_seed(0)
    network = NetworkSettings(
        **{**NETWORK, "width": 32, "groups": 32}, multipliers=(1, 2), in_channels=5, out_channels=5
    )
    quantizer = VectorQuantizerSettings(codebook_size=16)
    settings = TokenizerSettings(network=network, quantizer=quantizer, content="segmentation")
    write(Tokenizer(settings), home / "theirs", {})
    path = home / "theirs" / "configs" / "smalti-project.yaml"

    def with_data(**splits):
        whole = {"model": yaml.safe_load(path.read_text())["model"]}
        whole["data"] = {"target": "main.DataModuleFromConfig", "params": {"batch_size": 12, **splits}}
        path.write_text(yaml.safe_dump(whole))

    return with_data


@pytest.mark.parametrize(
    ("splits", "words", "labels", "told"),
    [
        ({"train": STUFF}, (), SHIFTED, WITH_1),
        ({"validation": {"target": "taming.data.coco.Examples"}}, (), SHIFTED, WITH_1),
        ({"train": COCO}, (), None, AS_THEY_ARE),
        ({"train": {"target": "taming.data.sflckr.Examples"}}, (), None, AS_THEY_ARE),
        ({"train": {"target": "own.Maps", "params": {"shift_segmentation": True}}}, (), SHIFTED, WITH_1),
        ({"train": {"target": "own.Maps"}}, ("--shift",), SHIFTED, WITH_1),
        ({"train": STUFF}, ("--no-shift",), None, AS_THEY_ARE),
    ],
)
def test_the_yaml_or_the_user_says_it(home, theirs, smalti_command, splits, words, labels, told):
    theirs(**splits)
    status, said, complaint = smalti_command("import", "theirs", "ours", *words)
    assert status == 0, complaint
    assert told in said.splitlines()
    assert smalti.load("ours").settings.labels == labels
