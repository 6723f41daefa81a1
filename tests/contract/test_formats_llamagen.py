"""LlamaGen's tokenizers and class-conditional priors give what its code gives, from tensors of its shapes."""

import math

import pytest
import torch
import torch.nn.functional as F
from peers import Shapes, attention, conv, doubled, halved, level, norm, residual, swish

import smalti
from smalti.errors import UserError
from smalti.formats import llamagen
from smalti.formats.protocol import Wanted
from smalti.formats.source import open_source
from smalti.quantizers.vq import VectorQuantizerSettings
from smalti.tokenizer import NetworkSettings, Tokenizer, TokenizerSettings

WIDTHS, LATENT, DIM, CODES = (32, 32, 64), 10, 4, 24  # of the published: 128 128 256 256 512, 256, 8, 16384
LAST = len(WIDTHS) - 1


def tokenizer_shapes():
    s = Shapes()
    s.conv("encoder.conv_in", 3, WIDTHS[0])
    for n, (before, after) in enumerate(zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)):
        for number in range(2):
            s.residual(f"encoder.conv_blocks.{n}.res.{number}", after if number else before, after)
            if n == LAST:
                s.attention(f"encoder.conv_blocks.{n}.attn.{number}", after)
        if n < LAST:
            s.conv(f"encoder.conv_blocks.{n}.downsample.conv", after, after)
    s.conv("decoder.conv_in", LATENT, WIDTHS[-1])
    down = WIDTHS[::-1]
    for n, (before, after) in enumerate(
        zip((WIDTHS[-1], *down), down, strict=False)
    ):  # in the order of running
        for number in range(3):
            s.residual(f"decoder.conv_blocks.{n}.res.{number}", after if number else before, after)
            if n == 0:
                s.attention(f"decoder.conv_blocks.{n}.attn.{number}", after)
        if n < LAST:
            s.conv(f"decoder.conv_blocks.{n}.upsample.conv", after, after)
    for part in ("encoder", "decoder"):
        s.residual(f"{part}.mid.0", WIDTHS[-1], WIDTHS[-1])
        s.attention(f"{part}.mid.1", WIDTHS[-1])
        s.residual(f"{part}.mid.2", WIDTHS[-1], WIDTHS[-1])
    s.norm("encoder.norm_out", WIDTHS[-1])
    s.conv("encoder.conv_out", WIDTHS[-1], LATENT)
    s.norm("decoder.norm_out", WIDTHS[0])
    s.conv("decoder.conv_out", WIDTHS[0], 3)
    s.conv("quant_conv", LATENT, DIM, side=1)
    s.conv("post_quant_conv", DIM, LATENT, side=1)
    s["quantize.embedding.weight"] = (CODES, DIM)
    return s


def run(t, part, count, number_of_levels, resampled, x):
    for n in range(number_of_levels):
        name = f"{part}.conv_blocks.{n}"
        blocks = [f"{name}.res.{number}" for number in range(count)]
        x = level(t, blocks, [f"{name}.attn.{number}" for number in range(count)], x)
        x = resampled(name, x) if n < LAST else x
    return x


def middle(t, part, x):
    return residual(t, f"{part}.mid.2", attention(t, f"{part}.mid.1", residual(t, f"{part}.mid.0", x)))


def reference_latents(t, x):
    x = conv(t, "encoder.conv_in", x)
    x = run(t, "encoder", 2, 3, lambda name, x: halved(t, f"{name}.downsample.conv", x), x)
    x = conv(t, "encoder.conv_out", swish(norm(t, "encoder.norm_out", middle(t, "encoder", x))))
    return conv(t, "quant_conv", x)


def reference_images(t, x):
    x = middle(t, "decoder", conv(t, "decoder.conv_in", conv(t, "post_quant_conv", x)))
    x = run(t, "decoder", 3, 3, lambda name, x: conv(t, f"{name}.upsample.conv", doubled(x)), x)
    return conv(t, "decoder.conv_out", swish(norm(t, "decoder.norm_out", x)))


def unit(x):
    return x / x.square().sum(-1, keepdim=True).sqrt()


@pytest.fixture(scope="module")
def tensors():
    return tokenizer_shapes().draw()


def opened(contents, folder):
    torch.save(contents, folder / "vq_ds4.pt")
    return open_source(folder / "vq_ds4.pt")


@torch.no_grad()
def test_tokenizer_gives_what_its_code_gives(tensors, tmp_path):
    ring = {"quantize.codebook_used": torch.zeros(65536)}
    source = opened({"model": tensors | ring}, tmp_path)
    assert llamagen.recognises(source)
    told = f"LlamaGen tokenizer: factor 4, {CODES} codes of {DIM} numbers a cell, 3 channels"
    assert llamagen.describe(source) == told
    imported = llamagen.read(source, Wanted())
    assert imported.dropped == ("the codes used last in training: quantize.codebook_used",)
    model = imported.model
    images = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    latents = reference_latents(tensors, images)
    torch.testing.assert_close(model.latents(images), latents, rtol=1e-4, atol=1e-4)
    entries = unit(tensors["quantize.embedding.weight"])
    rows = unit(latents.permute(0, 2, 3, 1))
    codes = (rows @ entries.T).argmax(-1)
    assert len(codes.unique()) > 5
    assert torch.equal(model.encode(images), codes)
    chosen = F.embedding(codes, entries)
    quantized = model.quantize(latents)
    torch.testing.assert_close(quantized.latents, chosen.permute(0, 3, 1, 2))
    torch.testing.assert_close(quantized.loss, 1.25 * (chosen - rows).square().mean())
    images = reference_images(tensors, chosen.permute(0, 3, 1, 2))
    torch.testing.assert_close(model.decode(codes), images, rtol=1e-4, atol=1e-4)


def test_beta_weighs_what_draws_latents_to_their_entries(tensors, tmp_path):
    quantizer = llamagen.read(opened(tensors, tmp_path), Wanted()).model.quantizer
    assert (quantizer.settings.commitment, quantizer.settings.codebook) == (0.25, 1.0)


def test_averaged_weights_come_first_and_the_discriminator_is_kept(tensors, tmp_path):
    other = {name: tensor + 1 for name, tensor in tensors.items()}
    discriminator = {"main.0.weight": torch.ones(4, 3, 4, 4)}
    contents = {"model": other, "ema": tensors, "discriminator": discriminator, "optimizer": {}, "steps": 3}
    imported = llamagen.read(opened(contents, tmp_path), Wanted())
    assert torch.equal(imported.model.decoder.conv_out.bias, tensors["decoder.conv_out.bias"])
    assert imported.discriminator.keys() == discriminator.keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decoder.conv_blocks.1.upsample.conv.bias": None}, "decoder.conv_blocks.1.upsample.conv.bias"),
        ({"encoder.mid.1.q.bias": None}, "encoder.mid.1.q.bias"),
        ({"decoder.extra": torch.ones(1)}, "1 unknown .decoder.extra"),
        ({"quantize.embedding.weight": None}, "quantize.embedding.weight"),
        ({"decoder.conv_blocks.0.res.0.norm1.bias": torch.ones(3)}, r"res.0.norm1.bias \(3,\) for \(64,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, words, tensors, tmp_path):
    changed = {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}
    with pytest.raises(UserError, match=words):
        llamagen.read(opened(changed, tmp_path), Wanted())


LAYERS, HEADS, WIDTH, GRID, CLASSES = 3, 2, 24, (3, 4), 9
HIDDEN = 256  # 2/3 of 4 * 24 is 64


def prior_shapes(hidden=HIDDEN):
    s = Shapes()
    s["cls_embedding.embedding_table.weight"] = (CLASSES + 1, WIDTH)
    s["tok_embeddings.weight"] = s["output.weight"] = (CODES, WIDTH)
    for n in range(LAYERS):
        s[f"layers.{n}.attention_norm.weight"] = s[f"layers.{n}.ffn_norm.weight"] = (WIDTH,)
        s[f"layers.{n}.attention.wqkv.weight"] = (3 * WIDTH, WIDTH)
        s[f"layers.{n}.attention.wo.weight"] = (WIDTH, WIDTH)
        s[f"layers.{n}.feed_forward.w1.weight"] = s[f"layers.{n}.feed_forward.w3.weight"] = (hidden, WIDTH)
        s[f"layers.{n}.feed_forward.w2.weight"] = (WIDTH, hidden)
    s["norm.weight"] = (WIDTH,)
    return s


def rms(t, name, x):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * t[f"{name}.weight"]


def turned(x, cell):
    """One head's query or key: half of the pairs of channels turn by the row, half by the column."""
    pairs = len(x) // 2
    out = torch.empty_like(x)
    for i in range(pairs):
        place, speed = (cell[0], i) if i < pairs // 2 else (cell[1], i - pairs // 2)
        angle = place * 10000 ** (-2 * speed / pairs)
        a, b = x[2 * i], x[2 * i + 1]
        out[2 * i] = a * math.cos(angle) - b * math.sin(angle)
        out[2 * i + 1] = b * math.cos(angle) + a * math.sin(angle)
    return out


def reference_logits(t, label, codes):
    """Scores of one image's codes, token by token and head by head; the class stands before them."""
    tokens = [t["cls_embedding.embedding_table.weight"][label], *t["tok_embeddings.weight"][codes[:-1]]]
    cells = [None, *((n // GRID[1], n % GRID[1]) for n in range(len(codes) - 1))]
    x, size = torch.stack(tokens), WIDTH // HEADS
    for n in range(LAYERS):
        q, k, v = (rms(t, f"layers.{n}.attention_norm", x) @ t[f"layers.{n}.attention.wqkv.weight"].T).chunk(
            3, -1
        )
        mixed = torch.zeros_like(x)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            queries, keys = (
                [
                    row[part] * 0 if cell is None else turned(row[part], cell)
                    for row, cell in zip(m, cells, strict=True)
                ]
                for m in (q, k)
            )
            for i in range(len(x)):
                scores = torch.stack([queries[i] @ keys[j] / math.sqrt(size) for j in range(i + 1)])
                mixed[i, part] = scores.softmax(0) @ v[: i + 1, part]
        x = x + mixed @ t[f"layers.{n}.attention.wo.weight"].T
        normed, feed = rms(t, f"layers.{n}.ffn_norm", x), f"layers.{n}.feed_forward"
        hidden = swish(normed @ t[f"{feed}.w1.weight"].T) * (normed @ t[f"{feed}.w3.weight"].T)
        x = x + hidden @ t[f"{feed}.w2.weight"].T
    return rms(t, "norm", x) @ t["output.weight"].T


@pytest.fixture(scope="module")
def weights():
    return prior_shapes().draw(seed=3)


def tiny_tokenizer(codes=CODES):
    network = NetworkSettings(
        width=8, multipliers=(1, 1), blocks=1, groups=4, attention_levels=(), latent_channels=4
    )
    return Tokenizer(
        TokenizerSettings(network=network, quantizer=VectorQuantizerSettings(codebook_size=codes))
    )


def wanted(**changes):
    size = (GRID[0] * 2, GRID[1] * 2)
    return Wanted(**{"tokenizer": tiny_tokenizer(), "size": size, "num_heads": HEADS} | changes)


@torch.no_grad()
def test_prior_gives_what_its_code_gives(weights, tmp_path):
    source = opened({"model": weights}, tmp_path)
    assert llamagen.recognises(source)
    assert llamagen.describe(source).startswith(
        f"LlamaGen prior: {LAYERS} layers of width {WIDTH}, {CODES} codes, 9 classes"
    )
    generator = llamagen.read(source, wanted()).model
    assert generator.settings.grid == GRID
    codes = torch.randint(CODES, (2, *GRID), generator=torch.Generator().manual_seed(4))
    labels = [8, 2]
    expected = torch.stack(
        [reference_logits(weights, label, row.flatten()) for label, row in zip(labels, codes, strict=True)]
    )
    assert expected.std() > 0.3
    torch.testing.assert_close(generator.logits(codes, label=labels), expected, rtol=1e-4, atol=1e-4)
    null = torch.stack([reference_logits(weights, CLASSES, row.flatten()) for row in codes])
    prefix = generator.condition.null(num=2, grid=GRID, device=codes.device).window(0, 0, *GRID)
    torch.testing.assert_close(generator.prior(codes.flatten(1), prefix), null, rtol=1e-4, atol=1e-4)


def test_prior_draws_what_it_scores_guided(weights, tmp_path):
    """Greedy and guided: u + s (c - u), and the best code of it at each place."""
    generator = llamagen.read(opened(weights, tmp_path), wanted()).model
    codes = generator.sample(num=1, label=5, top_k=1, guidance_scale=2.0).codes
    said, null = (reference_logits(weights, label, codes[0].flatten()) for label in (5, CLASSES))
    assert torch.equal((null + 2.0 * (said - null)).argmax(-1), codes[0].flatten())
    assert len(codes.unique()) > 2


def test_prior_of_an_older_file_tells_its_grid(weights, tmp_path):
    older = weights | {"freqs_cis": torch.zeros(1 + 16, 6, 2)}
    imported = llamagen.read(opened({"module": older}, tmp_path), wanted(size=None))
    assert imported.model.settings.grid == (4, 4)
    assert "freqs_cis" in imported.dropped[0]


def test_prior_folder(weights, tmp_path):
    generator = llamagen.read(opened(weights, tmp_path), wanted()).model
    smalti.save(generator, tmp_path / "model")
    again = smalti.load(tmp_path / "model")
    codes = torch.zeros(1, *GRID, dtype=torch.int64)
    assert torch.equal(again.logits(codes, label=3), generator.logits(codes, label=3))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer": None}, "--tokenizer"),
        ({"tokenizer": tiny_tokenizer(codes=7)}, "24 codes, got one with 7"),
        ({"size": None}, "--size"),
        ({"size": (6, 7)}, "multiples of 2"),
        ({"num_heads": None}, "--num-heads"),
    ],
)
def test_what_a_prior_needs_besides(changes, words, weights, tmp_path):
    with pytest.raises(UserError, match=words):
        llamagen.read(opened(weights, tmp_path), wanted(**changes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"layers.1.feed_forward.w3.weight": None},
            r"layers.1.feed_forward.w1.weight \(256, 24\) for \(512, 24\)",
        ),
        ({"layers.2.attention.wqkv.weight": torch.ones(40, 24)}, "layers.2.attention.wqkv.weight"),
        ({"norm.weight": None}, "1 missing .norm.weight"),
        ({"layers.0.attention.bias": torch.ones(4)}, "1 unknown .layers.0.attention.bias"),
    ],
)
def test_prior_tensors_that_do_not_fit_are_named(change, words, weights, tmp_path):
    changed = {name: tensor for name, tensor in (weights | change).items() if tensor is not None}
    with pytest.raises(UserError, match=words):
        llamagen.read(opened(changed, tmp_path), wanted())


def test_text_models_are_told_apart(weights, tmp_path):
    text = {name: tensor for name, tensor in weights.items() if not name.startswith("cls_embedding.")}
    text["cls_embedding.cap_proj.fc1.weight"] = torch.ones(WIDTH, 16)
    source = opened({"model": text}, tmp_path)
    assert llamagen.recognises(source)
    assert "text" in llamagen.describe(source)
    with pytest.raises(UserError, match="not supported"):
        llamagen.read(source, wanted())
