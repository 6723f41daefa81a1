"""Feature spaces: images of any size to features and scores that know what is shown; others' values."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti import imaging
from smalti.errors import UserError
from smalti.features import SPACES
from smalti.metrics.distances import frechet
from smalti.weights.catalogue import WEIGHTS

DATA = Path(find_spec("skimage").origin).parent / "data"


def image(height, width):
    """Waves, a chirp and hard edges, 1 3 height width in [-1, 1]."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    channels = np.sin(x / 3 + y / 7), np.sin(x * y / 400), np.where((x // 16 + y // 24) % 2 > 0, 1.0, -1.0)
    return torch.from_numpy(np.stack(channels)).float()[None]


@pytest.fixture(scope="module", params=SPACES)
def untrained(request):
    return SPACES[request.param].untrained(torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=SPACES)
def network(request):
    """With its weights, where they are at hand."""
    return _read(request.param)


def test_members_are_filed_under_their_names():
    assert all(member.name == name and name in WEIGHTS for name, member in SPACES.items())


def test_features_and_logits_are_of_one_pass(untrained):
    seen = torch.cat([image(40, 56), image(40, 56).flip(3)])
    features, logits = untrained.features_and_logits(seen)
    assert features.shape == (2, untrained.width)
    assert logits.shape == (2, untrained.classes)
    assert features.equal(untrained.features(seen))
    assert logits.equal(untrained.logits(seen))
    assert not features.requires_grad
    assert features.isfinite().all()
    assert features.std() > 0


def test_stages_tell_what_is_where(untrained):
    seen = image(40, 56)
    maps = untrained.maps(torch.cat([seen, seen.flip(3)]))
    sides = [tuple(one.shape[2:]) for one in maps]
    assert len(maps) == len(untrained.stages) == 4
    assert all(fine[1] > coarse[1] for fine, coarse in pairwise(sides))
    assert sides[0][1] >= 56
    assert all(one.std() > 0 and not one.requires_grad for one in maps)
    assert not any(module._forward_hooks for module in untrained.modules())


def test_nothing_in_it_learns_or_changes(untrained):
    torch.nn.ModuleList([untrained]).train()
    assert not any(module.training for module in untrained.modules())
    assert not any(parameter.requires_grad for parameter in untrained.parameters())


def test_building_one_draws_nothing_from_the_global_generator(untrained):
    before = torch.get_rng_state()
    type(untrained).untrained(torch.Generator().manual_seed(0))
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("name", ["lite0", "mobilenet_v2"])
def test_the_shorter_side_of_images_becomes_224_pixels(name):
    space = SPACES[name].untrained(torch.Generator().manual_seed(0))
    assert space.prepare(image(224, 230) * 2).equal((image(224, 230) * 2).clamp(-1, 1))
    for sides, size in (((300, 448), (224, 335)), ((56, 40), (314, 224))):
        resized = imaging.resize(image(*sides), size)
        assert space.prepare(image(*sides)).equal(resized.clamp(-1, 1))
        assert resized.max() > 1, "bicubic overshoots"


def test_features_of_many_are_those_of_each(network):
    seen = torch.cat([image(40, 56) * size for size in (1.0, 0.6, 0.2)])
    alone = torch.cat([network.features(one[None]) for one in seen])
    torch.testing.assert_close(network.features(seen, batch=2), alone, rtol=1e-4, atol=1e-4)
    assert (alone[0] - alone[2]).norm() > 0.5


def test_of_oblong_images_fewer_go_together(untrained, monkeypatch):
    """As many pixels as of squares: 4 of 80 x 320 in place of 16 squares of 80."""
    together, forward = [], untrained.forward
    monkeypatch.setattr(untrained, "forward", lambda images: together.append(len(images)) or forward(images))
    monkeypatch.setattr(untrained, "prepare", lambda images: images)
    found = untrained.features(image(80, 320).expand(6, -1, -1, -1), batch=16)
    assert (together, len(found)) == ([4, 2], 6)


def test_its_protocol_says_what_numbers_depend_on(network):
    protocol = network.protocol
    assert protocol["space"] == network.name
    assert len(protocol["weights"]) == 64
    assert protocol["features"] == network.width
    assert protocol["dtype"] == "float32"


@pytest.mark.parametrize(
    ("file", "classes"), [("chelsea.png", range(281, 286)), ("coffee.png", (967, 968, 504))]
)
def test_classifiers_name_what_is_shown(network, file, classes):
    seen = imaging.to_float(imaging.open_rgb(DATA / file))[None, :, :300, :300]
    assert network.logits(seen).argmax().item() in classes


def test_distance_grows_with_damage(network):
    tiles = imaging.to_float(imaging.open_rgb(DATA / "gravel.png")).unfold(1, 64, 64).unfold(2, 64, 64)
    tiles = tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)[::8]  # 8 3 64 64
    blurred = [imaging.resize(imaging.resize(tiles, (side, side)), (64, 64)) for side in (48, 24)]
    sharp, *others = [network.features(some) for some in (tiles, *blurred)]
    distances = [frechet(sharp, other) for other in (sharp, *others)]
    assert distances[0] < 1e-6 < distances[1] < distances[2]


# an oblong image, enlarged: resizing, clipping, normalisation, padding and every block have a part
VALUES = {
    "lite0": ({600: 4.72787, 61: 4.24679, 949: 3.65029, 674: 3.63004, 897: 3.56104}, 17.9877),
    # of torchvision 0.28's network
    "mobilenet_v2": ({416: 3.60601, 1107: 3.59768, 1170: 3.59613, 539: 3.33745, 791: 3.2153}, 25.5529),
}


@pytest.mark.parametrize("name", VALUES)
def test_features_have_their_values(name):
    features, (expected, norm) = _read(name).features(image(150, 210)), VALUES[name]
    assert {place: features[0, place].item() for place in expected} == pytest.approx(expected, rel=2e-4)
    assert features.norm().item() == pytest.approx(norm, rel=2e-4)


def _read(name):
    try:
        return SPACES[name].read()
    except UserError as missing:
        pytest.skip(str(missing))


def test_inception_is_torch_fidelitys_and_pytorch_fids():
    """Torch-fidelity 0.4 and pytorch-fid 0.3 with the same random weights differ by 1e-6 from ours."""
    features, logits = (
        SPACES["inception"].untrained(torch.Generator().manual_seed(0)).features_and_logits(image(150, 210))
    )
    expected = {1161: 5.562096, 2029: 5.086994, 562: 5.077996, 2010: 4.686079}
    assert {place: features[0, place].item() for place in expected} == pytest.approx(expected, rel=1e-4)
    assert features.norm().item() == pytest.approx(47.5831, rel=1e-4)
    assert logits.norm().item() == pytest.approx(45.5734, rel=1e-4), "as torch-fidelity's logits_unbiased"
    assert logits[0, 692].item() == pytest.approx(4.698599, rel=1e-4)


def test_missing_weights_are_named(untrained, monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=untrained.title) as caught:
        type(untrained).read()
    assert caught.value.remedy == WEIGHTS[untrained.name].command
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", None, {"a": torch.zeros(1)}, [1]])
def test_a_file_that_holds_something_else_is_named(untrained, tmp_path, content):
    path = tmp_path / "some.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=str(path)):
        type(untrained).read(path)
