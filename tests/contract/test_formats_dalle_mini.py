"""dalle-mini's flax VQGAN gives what its code gives, read without JAX; no damaged file reads as another."""

import json

import msgpack
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peers import Shapes, attention, conv, doubled, halved, level, norm, residual, swish

from smalti import library
from smalti.errors import UserError
from smalti.formats import dalle_mini, flax
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source

CONFIG = {
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 2,
    "attn_resolutions": [8],
    "resolution": 16,
    "in_channels": 3,
    "out_ch": 3,
    "z_channels": 12,
    "dropout": 0.0,
    "double_z": False,
    "resamp_with_conv": True,
    "n_embed": 30,
    "embed_dim": 7,
    "model_type": "vqgan",
}


def shapes():
    """Names of the flax tree with dots for its branches, but kernels and scales as torch has them."""
    s = Shapes()
    s.conv("encoder.conv_in", 3, 32)
    s.residual("encoder.down_0.block_0", 32, 32)
    s.residual("encoder.down_0.block_1", 32, 32)
    s.conv("encoder.down_0.downsample.conv", 32, 32)
    s.residual("encoder.down_1.block_0", 32, 64)
    s.residual("encoder.down_1.block_1", 64, 64)
    s.residual("decoder.up_1.block_0", 64, 64)
    s.residual("decoder.up_1.block_1", 64, 64)
    s.residual("decoder.up_1.block_2", 64, 64)
    s.conv("decoder.up_1.upsample.conv", 64, 64)
    s.residual("decoder.up_0.block_0", 64, 32)
    s.residual("decoder.up_0.block_1", 32, 32)
    s.residual("decoder.up_0.block_2", 32, 32)
    for name in (
        "encoder.down_1.attn_0",
        "encoder.down_1.attn_1",
        *(f"decoder.up_1.attn_{n}" for n in range(3)),
    ):
        s.attention(name, 64)
    for part in ("encoder.mid", "decoder.mid"):
        s.residual(f"{part}.block_1", 64, 64)
        s.attention(f"{part}.attn_1", 64)
        s.residual(f"{part}.block_2", 64, 64)
    s.norm("encoder.norm_out", 64)
    s.conv("encoder.conv_out", 64, 12)
    s.conv("decoder.conv_in", 12, 64)
    s.norm("decoder.norm_out", 32)
    s.conv("decoder.conv_out", 32, 3)
    s.conv("quant_conv", 12, 7, side=1)
    s.conv("post_quant_conv", 7, 12, side=1)
    s["quantize.embedding.weight"] = (30, 7)
    return s


def blocks(prefix, count):
    return [f"{prefix}.block_{n}" for n in range(count)], [f"{prefix}.attn_{n}" for n in range(count)]


def middle(t, name, x):
    x = attention(t, f"{name}.attn_1", residual(t, f"{name}.block_1", x))
    return residual(t, f"{name}.block_2", x)


def reference_latents(t, x):
    x = level(t, *blocks("encoder.down_0", 2), conv(t, "encoder.conv_in", x), all_after_each=True)
    x = halved(t, "encoder.down_0.downsample.conv", x)
    x = middle(t, "encoder.mid", level(t, *blocks("encoder.down_1", 2), x, all_after_each=True))
    return conv(t, "quant_conv", conv(t, "encoder.conv_out", swish(norm(t, "encoder.norm_out", x))))


def reference_images(t, x):
    x = middle(t, "decoder.mid", conv(t, "decoder.conv_in", conv(t, "post_quant_conv", x)))
    x = level(t, *blocks("decoder.up_1", 3), x, all_after_each=True)
    x = conv(t, "decoder.up_1.upsample.conv", doubled(x))
    x = level(t, *blocks("decoder.up_0", 3), x, all_after_each=True)
    return conv(t, "decoder.conv_out", swish(norm(t, "decoder.norm_out", x)))


def packed(array):
    data = msgpack.packb((array.shape, array.dtype.name, array.tobytes("C")), use_bin_type=True)
    return msgpack.ExtType(1, data)


def tree(tensors, norms=(1, 1, 1, -1)):
    """As flax keeps them: kernels (y, x, in, out), branches by name. norms: shape of scales and biases."""
    top = {}
    for name, tensor in tensors.items():
        *path, leaf = name.split(".")
        array = tensor.numpy()
        if path[-1] == "embedding":
            leaf = "embedding"
        elif "norm" in path[-1]:
            leaf, array = {"weight": "scale"}.get(leaf, leaf), array.reshape(norms)
        elif leaf == "weight":
            leaf, array = "kernel", array.transpose(2, 3, 1, 0)
        branch = top
        for step in path:
            branch = branch.setdefault(step, {})
        branch[leaf] = packed(array)
    return top


def put(folder, top, config=CONFIG):
    (folder / "flax_model.msgpack").write_bytes(msgpack.packb(top))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return open_source(folder)


@pytest.fixture(scope="module")
def tensors():
    return shapes().draw()


@torch.no_grad()
@pytest.mark.parametrize("norms", [(1, 1, 1, -1), (-1,)], ids=["old", "new"])
def test_it_gives_what_its_code_gives(norms, tensors, tmp_path):
    source = put(tmp_path, tree(tensors, norms))
    assert dalle_mini.recognises(source)
    assert dalle_mini.describe(source).endswith("factor 2, 30 codes of 7 numbers a cell, 3 channels")
    model = dalle_mini.read(source, Wanted()).model
    assert model.settings.network.attention == "all_after_each"
    images = torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(1))
    latents = reference_latents(tensors, images)
    torch.testing.assert_close(model.latents(images), latents, rtol=1e-4, atol=1e-4)
    entries = tensors["quantize.embedding.weight"]
    codes = torch.cdist(latents.permute(0, 2, 3, 1).reshape(-1, 7), entries).argmin(-1).view(2, 8, 6)
    assert len(codes.unique()) > 5
    assert torch.equal(model.encode(images), codes)
    images = reference_images(tensors, F.embedding(codes, entries).permute(0, 3, 1, 2))
    torch.testing.assert_close(model.decode(codes), images, rtol=1e-4, atol=1e-4)


def test_without_config_json(tensors, tmp_path):
    whole = dalle_mini.read(put(tmp_path, tree(tensors)), Wanted()).model
    (tmp_path / "config.json").unlink()
    found = dalle_mini.read(open_source(tmp_path), Wanted()).model
    assert found.settings == whole.settings
    assert library.fingerprint(found) == library.fingerprint(whole)


def test_below_params(tensors, tmp_path):
    whole = dalle_mini.read(put(tmp_path, tree(tensors)), Wanted()).model
    found = dalle_mini.read(put(tmp_path, {"params": tree(tensors)}), Wanted()).model
    assert library.fingerprint(found) == library.fingerprint(whole)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_embed": 31}, "n_embed 31"),
        ({"ch": 64}, "ch 64"),
        ({"attn_resolutions": [16]}, "attention"),
    ],
)
def test_a_config_of_another_model(changes, words, tensors, tmp_path):
    with pytest.raises(UserError, match=words):
        dalle_mini.read(put(tmp_path, tree(tensors), CONFIG | changes), Wanted())


@pytest.mark.parametrize(
    "gone", [("encoder", "norm_out", "scale"), ("decoder", "up_1", "attn_2", "v", "kernel")]
)
def test_a_missing_tensor_is_named(gone, tensors, tmp_path):
    top = tree(tensors)
    branch = top
    for step in gone[:-1]:
        branch = branch[step]
    del branch[gone[-1]]
    with pytest.raises(UserError, match=".".join(gone)):
        dalle_mini.read(put(tmp_path, top), Wanted())


def whole(top, tmp_path):
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(msgpack.packb(top))
    return flax.read(path)


def test_numbers_of_every_kind(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(4, dtype=np.int64),
        "c": np.array(2.5, dtype=np.float16),
        "d": np.zeros((0, 3), dtype=np.float64),
    }
    found = whole({name: packed(array) for name, array in arrays.items()}, tmp_path)
    assert all(np.array_equal(found[name].numpy(), array) for name, array in arrays.items())
    assert all(found[name].shape == array.shape for name, array in arrays.items())
    sixteen = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    data = msgpack.packb(((2,), "bfloat16", sixteen.view(torch.int16).numpy().tobytes()))
    assert torch.equal(whole({"a": msgpack.ExtType(1, data)}, tmp_path)["a"], sixteen)


def test_a_tensor_in_pieces(tmp_path):
    array = np.arange(24, dtype=np.float32)
    pieces = {str(n): packed(piece) for n, piece in enumerate(np.split(array, [11, 20]))}
    cut = {"__msgpack_chunked_array__": True, "shape": {"0": 4, "1": 6}, "chunks": pieces}
    assert np.array_equal(whole({"x": {"y": cut}}, tmp_path)["x.y"].numpy(), array.reshape(4, 6))
    for harm in (
        {"shape": {"0": 4, "1": 7}},
        {"shape": {"0": 4, "2": 6}},
        {"chunks": {}},
        {"chunks": {"0": 3}},
    ):
        with pytest.raises(UserError, match="pieces"):
            whole({"x": cut | harm}, tmp_path)


def ext(*what, code=1):
    return msgpack.ExtType(code, msgpack.packb(what))


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (ext((2, 2), "float32", b"\0" * 12), "12 bytes for an array"),
        (ext((1 << 40, 1 << 40), "float32", b"\0" * 4), "which takes"),
        (ext((-1, -4), "float32", b"\0" * 16), "the shape"),
        (ext((True,), "float32", b"\0" * 4), "the shape"),
        (ext("4", "float32", b"\0" * 16), "the shape"),
        (ext((1,), "object", b"\0" * 8), "numbers of the kind"),
        (ext((1,), ["float32"], b"\0" * 4), "numbers of the kind"),
        (ext((1,), "float32"), "an array without"),
        (ext((1,), "float32", "text"), "an array without"),
        (ext((1,), "complex64", b"\0" * 8, code=2), "an extension of type 2"),
        (msgpack.ExtType(1, b"\xc1"), "flax file"),
        ("a string", "neither a tensor nor a branch"),
        ([1, 2], "neither a tensor nor a branch"),
        (3.5, "neither a tensor nor a branch"),
    ],
)
def test_what_is_no_tensor_is_refused(leaf, words, tmp_path):
    with pytest.raises(UserError, match=words):
        whole({"encoder": {"kernel": leaf}}, tmp_path)


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-3], lambda data: data + b"\0", lambda data: b"", lambda data: b"\x91" * 5000]
)
def test_damaged_files(harm, tmp_path):
    path = tmp_path / "flax_model.msgpack"
    path.write_bytes(harm(msgpack.packb({"a": packed(np.ones(3, np.float32))})))
    with pytest.raises(UserError, match="a whole flax file"):
        flax.read(path)


def test_keys_that_are_no_words(tmp_path):
    with pytest.raises(UserError, match="a whole flax file"):
        whole({3: packed(np.ones(3, np.float32))}, tmp_path)
