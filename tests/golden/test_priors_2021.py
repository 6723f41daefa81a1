"""The GPT gives the numbers of the 2021 code: scores, losses, greedy codes, training curves."""

import pytest
import torch
import torch.nn.functional as F
from tiny import scope_of

from smalti.errors import UserError
from smalti.formats.compvis.places import PERMUTERS
from smalti.formats.compvis.transformer import ours
from smalti.orders import ORDERS, inverse, order
from smalti.priors.corrupt import corrupt
from smalti.priors.gpt import GPT, GPTSettings
from smalti.training.optimization import build
from smalti.training.settings import OptimizerSettings

SCORED = (slice(None), slice(9, None))  # of scores of all tokens: those of what follows a prefix of 10
NAMES_2021 = {theirs: ours for ours, theirs in PERMUTERS.items() if ours != "row"}


def scope(codes, prefix, side):
    cells = tuple((place // side, place % side) for place in range(codes))
    return scope_of(codebook_size=1, prefix_vocabulary=1, prefix_length=prefix, cells=cells)


def gpt(state, scope, **changes):
    sizes = {"layers": 2, "heads": 4, "width": 64, "vocabulary": len(state["tok_emb.weight"])}
    prior = GPT(GPTSettings(**sizes, positions=state["pos_emb"].shape[1], **changes), scope)
    prior.load_state_dict(ours(state))
    return prior.eval()


@torch.inference_mode()
def greedy(prior, codes, prefix, length, cached):
    """Codes and what follows them, up to length: with a cache, or with everything fed anew each time."""
    cache = prior.new_cache(len(prefix)) if cached else None
    scores = prior.prefill(codes, prefix, cache)
    while True:
        codes = torch.cat((codes, scores.argmax(-1, keepdim=True)), 1)
        if codes.shape[1] == length:
            return codes
        scores = prior.extend(codes[:, -1:], cache)[:, 0] if cached else prior.prefill(codes, prefix)


@pytest.fixture(params=[0, 8], ids="unmasked{}".format)
def transformer(request, golden):
    """The transformer alone, given 10 tokens as prefix and up to 21 codes."""
    case = golden("gpt")
    state = {name[6:]: tensor for name, tensor in case.tensors.items() if name.startswith("state.")}
    return case, f"unmasked{request.param}.", gpt(state, scope(21, 10, 7), unmasked=request.param)


def test_transformer_scores(transformer):
    case, key, prior = transformer
    tokens = case.tensors["idx"]
    found = prior(torch.cat((tokens[:, 10:], tokens[:, :1]), 1), tokens[:, :10])  # the last code is not fed
    case.close(found, f"{key}logits", rows=SCORED)


def test_transformer_loss(golden):
    case = golden("gpt")
    state = {name[6:]: tensor for name, tensor in case.tensors.items() if name.startswith("state.")}
    tokens = case.tensors["idx"]
    prior = gpt(state, scope(30, 1, 6))  # one token as prefix: every row is scored
    logits = prior(torch.cat((tokens[:, 1:], tokens[:, :1]), 1), tokens[:, :1])
    case.close(logits, "unmasked0.logits")
    case.close(F.cross_entropy(logits.mT, case.tensors["targets"][:, :30]), "unmasked0.loss")


def test_transformer_with_a_cache(transformer):
    case, key, prior = transformer
    tokens, cache = case.tensors["idx"], prior.new_cache(2)
    rows = [prior.prefill(tokens[:, 10:10], tokens[:, :10], cache)]
    rows += [prior.extend(code[:, None], cache)[:, 0] for code in tokens[:, 10:].T]
    case.close(torch.stack(rows, 1), f"{key}cached_logits", rows=SCORED)


@pytest.mark.parametrize("cached", [True, False])
def test_transformer_greedy(transformer, cached):
    case, key, prior = transformer
    prompt = case.tensors["idx"][:, :10]
    found = greedy(prior, prompt[:, :0], prompt, 20, cached)
    assert found.equal(case.tensors[f"{key}sample_with_past_greedy"])
    assert found.equal(case.tensors[f"{key}mingpt_sample_greedy"][:, 10:])


@pytest.mark.parametrize("name", ["transformer_class", "transformer_unconditional"])
def test_prior_of_a_model(golden, name):
    case = golden(name)
    prior = gpt(case.state_dict("transformer."), scope(64, 1, 8))
    codes, prefix = case.tensors["z_indices"], case.tensors["c_indices"]
    logits = prior(codes, prefix)
    case.close(logits, "logits")
    case.close(logits, "all_logits")
    case.close(F.cross_entropy(logits.mT, case.tensors["target"]), "loss")
    for cached in (True, False):
        assert greedy(prior, codes[:, :0], prefix, 64, cached).equal(case.tensors["greedy_codes"])
        assert greedy(prior, codes[:, :32], prefix, 64, cached).equal(case.tensors["greedy_codes_from_half"])


def test_order_tables(golden):
    case = golden("sequence_orders")
    tables = [key for key in case.tensors if key.endswith("forward_shuffle_idx")]
    assert len(tables) == 33
    for key in tables:
        name, size, _ = key.split(".")
        found = order(NAMES_2021[name], *map(int, size.split("x")))
        assert found.equal(case.tensors[key]), key
        assert inverse(found).equal(case.tensors[key.replace("forward", "backward")]), key


def test_undefined_orders(golden):
    for key in golden("sequence_orders").case["undefined"]:
        name, size = key.split()
        height, width = map(int, size.split("x"))
        with pytest.raises(UserError, match=f"{NAMES_2021[name]}.* squares .*got {height} x {width} cells"):
            order(NAMES_2021[name], height, width)


@pytest.mark.parametrize("name", NAMES_2021)
def test_prior_trained_in_an_order(golden, name):
    case, key = golden("sequence_orders"), f"trained_order.{name}."
    prior = gpt(golden("transformer_class").state_dict("transformer."), scope(64, 1, 8))
    laid = order(NAMES_2021[name], 8, 8)
    codes = case.tensors["trained_order.codes_row_major"][:, laid]
    prefix = case.tensors["trained_order.labels"][:, None]
    assert codes.equal(case.tensors[f"{key}z_indices"])
    logits = prior(codes, prefix)
    case.close(logits[:, [0, 1, 63]], f"{key}logits_rows_0_1_63")
    case.close(F.cross_entropy(logits.mT, codes), f"{key}loss")
    drawn = greedy(prior, codes[:, :0], prefix, 64, cached=True)
    assert drawn.equal(case.tensors[f"{key}greedy_codes"])
    assert drawn[:, inverse(laid)].equal(case.tensors[f"{key}greedy_codes_row_major"])
    assert greedy(prior, codes[:, :32], prefix, 64, cached=True).equal(case.tensors[f"{key}half_codes"])


@pytest.mark.parametrize("pkeep", [1.0, 0.9])
def test_training(golden, pkeep):
    case, key = golden("training_transformer"), f"pkeep{pkeep}."
    codes, labels = case.tensors["z_indices_of_pool"], case.tensors["labels"]
    prior = gpt(golden("transformer_class").state_dict("transformer."), scope(64, 1, 8)).train()
    settings = OptimizerSettings(lr=case.case["learning_rate"], betas=(0.9, 0.95), weight_decay=0.01)
    optimizer = build(prior, settings)
    losses = []
    for step in range(30):
        rows = [(4 * step + 3 * row) % 16 for row in range(4)]
        logits = prior(noisy(codes[rows], case, step, pkeep), labels[rows][:, None])
        loss = F.cross_entropy(logits.mT, codes[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        if step == 0:
            compare_parameters(case, f"{key}after_step1.", prior)
    case.close(torch.stack(losses), f"{key}loss")
    compare_parameters(case, f"{key}final.", prior)
    moments = optimizer.state[prior.blocks[1].qkv.weight]
    for moment in ("exp_avg", "exp_avg_sq"):
        case.close(moments[moment][64:128], f"{key}final.adam.{moment}")
    case.close(prior.eval()(codes[:2], labels[:2][:, None]), f"{key}final.logits")


def noisy(codes, case, step, pkeep):
    """The recorded draws of the 2021 code, which our own draws from the same seed must equal."""
    if pkeep == 1.0:
        return codes
    generator = torch.Generator().manual_seed(6000 + step)
    drawn = corrupt(codes, pkeep=pkeep, codebook_size=64, generator=generator)
    kept = case.tensors["pkeep0.9.mask"][step].bool()
    assert drawn.equal(torch.where(kept, codes, case.tensors["pkeep0.9.random_indices"][step].long()))
    return drawn


def compare_parameters(case, key, prior):
    case.close(prior.positions[None], f"{key}pos_emb")
    case.close(prior.table.weight, f"{key}tok_emb.weight")
    case.close(prior.blocks[0].norm1.weight, f"{key}blocks.0.ln1.weight")
    case.close(prior.blocks[0].qkv.bias[:64], f"{key}blocks.0.attn.query.bias")
    case.close(prior.blocks[1].out.weight, f"{key}blocks.1.attn.proj.weight")
    case.close(prior.head.weight, f"{key}head.weight")


def test_decayed_parameters(golden):
    case = golden("training_transformer")
    prior = gpt(golden("transformer_class").state_dict("transformer."), scope(64, 1, 8))
    groups = build(prior, OptimizerSettings(weight_decay=0.01)).param_groups
    sizes = [sum(tensor.numel() for tensor in group["params"]) for group in groups]
    state = golden("transformer_class").state_dict("transformer.")
    expected = case.case["parameter_groups"]
    assert sizes == [sum(state[name].numel() for name in group["parameters"]) for group in expected]
    assert [group["weight_decay"] for group in groups] == [group["weight_decay"] for group in expected]


def test_every_order_is_compared():
    assert set(ORDERS) == {"row", *NAMES_2021.values()}
