"""Is the step that benchmarks/train_step.py measures against that of the 2021 code? Its curve, both turns.

And does our step give the same losses? Both are asked for the first one's, within 1e-5, of weights that stand
still: in later ones ours shows the critic the reconstruction of before the autoencoder moved.
"""

import pytest
import torch
from golden.test_training_2021 import CRITIC, NETWORK, RATE, STEPS, lpips, recipe

from benchmarks.baselines.network_2021 import VQModel2021
from benchmarks.baselines.two_forward_step import TwoForwardStep
from smalti.data.protocol import Batch
from smalti.losses.lpips import LPIPS
from smalti.losses.patchgan import PatchGAN
from smalti.tokenizer import Tokenizer, TokenizerSettings
from smalti.training.tokenizer_task import TokenizerTask


def two_forward(model, critic, distance, **how) -> TwoForwardStep:
    """Their step from the weights of ours."""
    autoencoder, judge = VQModel2021(NETWORK, model.codebook_size), PatchGAN(CRITIC)
    autoencoder.load_state_dict(model.state_dict())
    judge.load_state_dict(critic)
    return TwoForwardStep(autoencoder, judge, distance, **how)


@pytest.fixture
def baseline(golden) -> TwoForwardStep:
    found = golden("vqgan").imported()
    return two_forward(found.model, found.critic, lpips(golden("lpips").case), lr=RATE.lr, start=10)


def test_the_curve_of_2021(golden, baseline):
    case = golden("training_vqgan")
    pool = case.tensors["pool"].permute(0, 3, 1, 2).float() / 127.5 - 1
    rows = [baseline.step(pool[[2 * step % 16, (2 * step + 1) % 16]]) for step in range(STEPS)]
    for name in rows[0]:
        got = torch.stack([row[name] for row in rows])
        if name == "codes":
            assert torch.equal(got.flatten(1), case.tensors["lpips_eval.codes_generator_pass"])
            continue
        name = name if name.endswith("tor_loss") else f"log.{name}"
        case.close(got, f"lpips_eval.{name}")
    final = case.tensors["lpips_eval.final.decoder.conv_out.weight"]
    torch.testing.assert_close(baseline.last_layer.detach(), final, atol=5e-7, rtol=0.0)


def test_our_step_gives_the_losses_and_gradients_of_two_passes():
    torch.manual_seed(0)
    distance = LPIPS.untrained(torch.Generator().manual_seed(0))
    training = recipe(start=0)
    tokenizer = Tokenizer(TokenizerSettings(network=NETWORK, quantizer=training.quantizer))
    task = TokenizerTask(training, tokenizer, PatchGAN(CRITIC), distance)
    theirs = two_forward(tokenizer, task.critic.state_dict(), distance, lr=0.0, start=0)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    gradients: dict[str, torch.Tensor] = {}
    theirs.optimizers[0].register_step_pre_hook(lambda *_: gradients.update(_gradients(theirs.autoencoder)))
    theirs.optimizers[1].register_step_pre_hook(lambda *_: gradients.update(_gradients(theirs.critic)))
    expected, found = theirs.step(pictures), task.losses(Batch(images=pictures), 0)
    pairs = {"generator_loss": "autoencoder", "discriminator_loss": "critic"}
    for old, new in pairs.items():
        torch.testing.assert_close(found.minimise[new].detach(), expected[old], atol=1e-5, rtol=0.0)
        found.minimise[new].backward()
    balance = found.statistics["adaptive_weight"] * 0.8
    torch.testing.assert_close(balance, expected["d_weight"], atol=0.0, rtol=1e-4)
    own = _gradients(tokenizer) | _gradients(task.critic)
    assert own.keys() == gradients.keys()
    for name, gradient in gradients.items():
        atol = 1e-3 * gradient.abs().max().item() + 1e-6  # of biases before a norm rounding alone
        torch.testing.assert_close(
            own[name], gradient, atol=atol, rtol=0.0, msg=lambda text, n=name: n + text
        )


def _gradients(network) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters()}
