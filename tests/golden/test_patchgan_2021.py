"""The discriminator gives the numbers of the 2021 code: logits, gradients, statistics, first weights."""

import pytest
import torch

from smalti.losses.patchgan import ActNorm, PatchGAN, PatchGANSettings


@pytest.fixture(params=["bn3", "bn2_in6", "bn1", "act3"])
def variant(request, golden):
    """The discriminator of a variant, filled key by key, the case, and the variant's name."""
    case, name = golden("patchgan"), request.param
    params = case.case["variants"][name]
    norm = "act" if params.get("use_actnorm") else "batch"
    settings = PatchGANSettings(width=params["ndf"], layers=params["n_layers"], norm=norm)
    discriminator = PatchGAN(settings, params["input_nc"])
    prefix = f"{name}.state."
    discriminator.load_state_dict(
        {key.removeprefix(prefix): value for key, value in case.tensors.items() if key.startswith(prefix)}
    )
    return discriminator, case, name


def states_agree(discriminator, case, name, moment):
    for key in [key for key in case.tensors if key.startswith(f"{name}.{moment}.")]:
        case.close(discriminator.state_dict()[key.removeprefix(f"{name}.{moment}.")], key)


def gradients_agree(discriminator, case, name):
    seen = 0
    for weight, parameter in discriminator.named_parameters():
        for key, value in (("grad", parameter.grad), ("grad_norm", parameter.grad.norm())):
            if f"{name}.{key}.{weight}" in case.tensors:
                case.close(value, f"{name}.{key}.{weight}")
                seen += 1
    assert seen == len(list(discriminator.parameters()))


def test_logits_gradients_and_statistics(variant):
    discriminator, case, name = variant
    a, b = (case.tensors[f"{name}.{batch}"] for batch in ("a", "b"))
    case.close(discriminator.eval()(a), f"{name}.eval_logits_a_before")
    a = a.clone().requires_grad_()
    logits = discriminator.train()(a)
    case.close(logits, f"{name}.train_logits_a")
    (logits.mean() + logits.square().mean()).backward()
    case.close(a.grad, f"{name}.grad_input_a")
    gradients_agree(discriminator, case, name)
    states_agree(discriminator, case, name, "after_a")
    case.close(discriminator(b), f"{name}.train_logits_b")
    states_agree(discriminator, case, name, "after_b")
    case.close(discriminator.eval()(a), f"{name}.eval_logits_a")
    case.close(discriminator(b), f"{name}.eval_logits_b")


def test_weights_start_as_in_2021(golden):
    metadata = golden("patchgan").case["init"]["statistics_of_a_default_discriminator"]
    state = PatchGAN(PatchGANSettings(), generator=torch.Generator().manual_seed(0)).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == {
        k: v["shape"] for k, v in metadata.items()
    }
    for name, fact in metadata.items():
        if state[name].numel() < 64 or not fact["std"]:
            assert state[name].numel() == 1 or state[name].float().mean() == fact["mean"]
            continue
        error = 5 / state[name].numel() ** 0.5  # five standard errors
        assert state[name].mean().item() == pytest.approx(fact["mean"], abs=1.5 * error * fact["std"])
        assert state[name].std().item() == pytest.approx(fact["std"], rel=error)


def test_act_norm_whitens_its_first_batch_only(golden):
    case = golden("patchgan")
    x = case.tensors["actnorm.x"]
    layer = ActNorm(x.shape[1])
    assert layer.eval()(x).equal(x)
    first = layer.train()(x)
    for name, got in {"h": first, "loc": layer.loc, "scale": layer.scale}.items():  # not among the measured
        torch.testing.assert_close(got.detach(), case.tensors[f"actnorm.{name}"], atol=1e-5, rtol=0.0)
    torch.testing.assert_close(layer(x + 1), first + layer.scale)
