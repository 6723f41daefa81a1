"""Sentences to vectors: values of the published network, and what does not depend on the batch."""

import zipfile

import pytest
import torch

from smalti.errors import UserError
from smalti.features.minilm import MiniLM
from smalti.weights.catalogue import WEIGHTS

# by sentence-transformers' formulas over the same tensors, written apart from ours
FIRST = {
    "A red brick house.": [0.0280, 0.0603, -0.0523, 0.0772],
    "a house of bricks": [-0.0046, 0.1128, -0.0076, 0.0391],
    "Zürich 漢字 don't!": [0.0253, 0.0775, 0.0497, -0.0354],
}


@pytest.fixture(scope="module")
def untrained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MiniLM().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("tokenizers")
    if not WEIGHTS["minilm"].at_hand:
        pytest.skip(WEIGHTS["minilm"].command)
    return MiniLM.read()


def test_what_lies_behind_a_sentence_does_not_matter(untrained):
    tokens = torch.randint(30000, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(9) < torch.tensor([[9], [4]])
    both, alone = untrained(tokens, mask), untrained(tokens[1:, :4], mask[1:, :4])
    assert both.norm(dim=1) == pytest.approx([1, 1])
    assert (both[1:] - alone).abs().max() < 1e-5


def test_names_of_bert_are_taken(untrained):
    """What `take` makes of the names in a file, of which the pooler is left out."""
    theirs = {"pooler.dense.weight": torch.zeros(1)}
    for name, tensor in untrained.state_dict().items():
        first, _, rest = name.partition(".")
        known = {"words": "word_embeddings", "places": "position_embeddings"}
        known |= {"sentences": "token_type_embeddings", "norm": "LayerNorm"}
        if first in known:
            theirs[f"embeddings.{known[first]}.{rest}"] = tensor
            continue
        number, part, end = rest.split(".", 2)
        within = {"query": "attention.self.query", "key": "attention.self.key"}
        within |= {"value": "attention.self.value", "hidden": "intermediate.dense"}
        within |= {"attended": "attention.output"}
        theirs[f"encoder.layer.{number}.{within.get(part, part)}.{end.replace('norm', 'LayerNorm')}"] = tensor
    taken = MiniLM()
    taken.take(theirs)
    assert all(torch.equal(taken.state_dict()[k], v) for k, v in untrained.state_dict().items())
    assert not any(parameter.requires_grad for parameter in taken.parameters())


def test_vectors_are_those_that_were_published(network):
    found = network.vectors(list(FIRST))
    assert (found[:, :4] - torch.tensor(list(FIRST.values()))).abs().max() < 1e-4
    assert found.norm(dim=1) == pytest.approx([1, 1, 1], abs=1e-5)
    alike = (found @ found.T)[0]
    assert alike[1] > 0.7 > 0.3 > alike[2]
    again = network.vectors(list(FIRST), batch=1)
    assert (found - again).abs().max() < 1e-5
    assert network.vectors([]).shape == (0, 384)


def test_files_of_something_else_are_named(tmp_path):
    pytest.importorskip("tokenizers")
    other = tmp_path / "model.zip"
    for write in (lambda: other.write_bytes(b"no zip"), lambda: zipfile.ZipFile(other, "w").close()):
        write()
        with pytest.raises(UserError, match=f"the weights and words of MiniLM in {other}"):
            MiniLM.read(other)
    with pytest.raises(UserError, match="No such file"):
        MiniLM.read(tmp_path / "none.zip")
