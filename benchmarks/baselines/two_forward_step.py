"""The training step of 2021: each of the two optimizers in turn runs the whole autoencoder on the batch.

The generator's turn: reconstruction, LPIPS, the discriminator's scores; the adaptive weight by two backward
passes down to the decoder's last layer; then one backward pass through everything; Adam. The discriminator's
turn: the autoencoder again, already updated and without a graph; LPIPS again, only to be thrown away; the
discriminator on real and rebuilt images; Adam. LPIPS is without the dropout that the 2021 code left on by
oversight.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TwoForwardStep:
    """The two networks, the distance, their optimizers, and the batches seen."""

    def __init__(
        self,
        autoencoder: nn.Module,
        discriminator: nn.Module,
        distance: nn.Module,
        *,
        lr: float,
        start: int,
        weight: float = 0.8,
    ) -> None:
        """autoencoder: x -> (reconstruction, quantizer's loss, codes). distance: (x, y) -> a number each.

        start: the first batch at which the discriminator counts.
        """
        self.autoencoder, self.discriminator, self.distance = (
            autoencoder.train(),
            discriminator.train(),
            distance,
        )
        self.last_layer: Tensor = autoencoder.decoder.conv_out.weight  # type: ignore[union-attr, assignment]
        self.start, self.weight, self.seen = start, weight, 0
        networks = (autoencoder, discriminator)
        self.optimizers = [torch.optim.Adam(one.parameters(), lr=lr, betas=(0.5, 0.9)) for one in networks]

    def step(self, real: Tensor) -> dict[str, Tensor]:
        """Both turns; the losses and their terms, detached."""
        factor = 1.0 if self.seen >= self.start else 0.0
        told = self._generator_turn(real, factor) | self._discriminator_turn(real, factor)
        self.seen += 1
        return {name: value.detach() for name, value in told.items()}

    def _generator_turn(self, real: Tensor, factor: float) -> dict[str, Tensor]:
        self._give_turn(0)
        rebuilt, quantizer_loss, codes = self.autoencoder(real)
        nll, p = self._nll(real, rebuilt)
        g = -self.discriminator(rebuilt).mean()
        of_nll, of_g = (torch.autograd.grad(loss, self.last_layer, retain_graph=True)[0] for loss in (nll, g))
        balance = (of_nll.norm() / (of_g.norm() + 1e-4)).clamp(0.0, 1e4).detach() * self.weight
        loss = nll + balance * factor * g + quantizer_loss.mean()
        self._move(0, loss)
        told = {"generator_loss": loss, "nll_loss": nll, "p_loss": p, "quant_loss": quantizer_loss}
        return {**told, "d_weight": balance, "g_loss": g, "codes": codes}

    def _discriminator_turn(self, real: Tensor, factor: float) -> dict[str, Tensor]:
        self._give_turn(1)
        rebuilt, _, codes = self.autoencoder(real)
        self._nll(real, rebuilt)
        of_real, of_fake = self.discriminator(real.detach()), self.discriminator(rebuilt.detach())
        loss = factor * 0.5 * (F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean())
        self._move(1, loss)
        told = {"discriminator_loss": loss, "logits_real": of_real.mean()}
        return {**told, "logits_fake": of_fake.mean(), "codes_of_discriminator": codes}

    def _nll(self, real: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
        p = self.distance(real, rebuilt)  # b
        return ((real - rebuilt).abs() + p.view(-1, 1, 1, 1)).mean(), p.mean()

    def _give_turn(self, number: int) -> None:
        """Only the parameters of the optimizer whose turn it is want gradients."""
        for turn, network in enumerate((self.autoencoder, self.discriminator)):
            network.requires_grad_(turn == number)

    def _move(self, number: int, loss: Tensor) -> None:
        loss.backward()
        self.optimizers[number].step()
        self.optimizers[number].zero_grad()
