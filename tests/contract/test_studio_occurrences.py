"""Where a code occurs in a data set: counted by hand, shown as the tokenizer decodes it."""

import numpy as np
import pytest
import torch
from studios import client_of, image_of, opened
from tiny import generator

import smalti
from smalti import imaging
from smalti.data.protocol import Sample
from smalti.data.shards import ShardMetadata, ShardWriter
from smalti.errors import UserError
from smalti.studio.app import Studio
from smalti.studio.models import Models

GRID = (10, 12)  # larger than what is shown of it


def shards_of(tokenizer, folder, rows, fingerprint=None):
    made = ShardMetadata(
        tokenizer=fingerprint or tokenizer.fingerprint, codebook_size=12, factor=2, classes=()
    )
    with ShardWriter(folder, made) as writer:
        for split, codes in rows.items():
            writer.add(split, [Sample(codes=one) for one in codes])
        writer.close()
    return folder


@pytest.fixture(scope="module")
def codes():
    """Codes 0 to 9 anywhere, 10 in three places of two images, 11 nowhere."""
    found = torch.randint(10, (40, *GRID), generator=torch.Generator().manual_seed(1))
    found[7, 0, 11] = found[31, 9, 0] = found[31, 9, 3] = 10
    return found


@pytest.fixture(scope="module")
def studio(tmp_path_factory, codes):
    folder = tmp_path_factory.mktemp("studio")
    plain = opened(folder)
    tokenizer = plain.models.get("tokenizer")
    shards = shards_of(tokenizer, folder / "shards", {"train": codes[:30], "val": codes[30:]})
    models = Models(plain.models.paths, [shards])
    models.load()
    found = Studio(models, plain.runs, plain.limits, plain.turns)
    yield found
    found.turns.close()


@pytest.fixture(scope="module")
def client(studio):
    with client_of(studio) as found:
        yield found


def asked(client, code, model="tokenizer"):
    answer = client.get(f"/api/occurrences/{model}?code={code}")
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("model", ["tokenizer", "labelled"])
def test_places_are_counted_over_both_splits_and_shown(client, codes, model):
    found = asked(client, 10, model)
    assert (found["count"], found["images"], found["of"]) == (3, 2, 40)
    one, other = found["examples"]
    assert one["size"] == other["size"] == [8, 8]
    assert one["cells"] == [[0, 7]]  # of rows 0 to 7 and columns 4 to 11
    assert other["cells"] == [[7, 0], [7, 3]]  # of rows 2 to 9 and columns 0 to 7


def test_an_example_is_its_part_decoded(client, studio, codes):
    tokenizer = studio.models.get("tokenizer")
    (one, _) = asked(client, 10)["examples"]
    ours = imaging.to_pil(tokenizer.decode(codes[7:8, :8, 4:]))[0]
    assert np.array_equal(np.asarray(image_of(one["image"])), np.asarray(ours))


def test_of_many_images_some_are_shown_evenly(client, codes):
    found = asked(client, 3)
    images = [row for row in range(40) if (codes[row] == 3).any()]
    assert (found["images"], found["count"]) == (len(images), int((codes == 3).sum()))
    assert len(found["examples"]) == 12
    assert len({one["image"] for one in found["examples"]}) == 12


def test_a_code_that_no_image_has_is_no_mistake(client):
    assert asked(client, 11) == {"count": 0, "images": 0, "of": 40, "examples": []}


@pytest.mark.parametrize("code", ["12", "-1", "x", "", "1,2"])
def test_another_code_is_refused(client, code):
    answer = client.get(f"/api/occurrences/tokenizer?code={code}")
    assert answer.status_code == 400
    assert "code" in answer.json()["expected"]


def test_models_say_whether_they_have_shards(client):
    can = {one["name"]: "occurrences" in one["can"] for one in client.get("/api/models").json()}
    assert can["labelled"]
    assert can["tokenizer"]


def test_without_shards_the_option_is_named(tmp_path):
    studio = opened(tmp_path)
    with client_of(studio) as client:
        assert not any("occurrences" in one["can"] for one in client.get("/api/models").json())
        answer = client.get("/api/occurrences/tokenizer?code=1")
    studio.turns.close()
    assert answer.status_code == 400
    assert "--shards" in answer.json()["remedy"]


def test_shards_of_another_tokenizer_and_other_folders_are_refused(tmp_path, codes):
    tokenizer = generator("gpt", grid=(4, 6)).tokenizer
    smalti.save(tokenizer, tmp_path / "tokenizer")
    other = shards_of(tokenizer, tmp_path / "other", {"train": codes}, fingerprint="0123456789abcdef")
    for folder, words in ((other, "opened model's tokenizer"), (tmp_path / "none", "token shards")):
        models = Models({"tokenizer": tmp_path / "tokenizer"}, [folder])
        models.load()
        with pytest.raises(UserError, match=words):
            models.told()
