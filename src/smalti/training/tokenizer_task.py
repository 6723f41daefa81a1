"""Learning a tokenizer: rebuild images, and pass them off as real on a discriminator that learns."""

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import add

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smalti import imaging, strategy
from smalti.data.maps import reading
from smalti.data.protocol import Batch
from smalti.losses import at_images
from smalti.losses.patchgan import PatchGAN
from smalti.losses.protocol import AUTOENCODER, DISCRIMINATOR, Logits, LossTerm
from smalti.losses.terms import terms
from smalti.metrics.protocol import Measured
from smalti.quantizers.protocol import Quantized
from smalti.quantizers.usage import RecentCodes
from smalti.tokenizer import Tokenizer, TokenizerSettings
from smalti.tokenizer.use import lay_out
from smalti.training import pixels
from smalti.training.contents import content
from smalti.training.recompute import recompute
from smalti.training.seeds import generator, seeded
from smalti.training.settings import TokenizerTraining
from smalti.training.task import Losses
from smalti.training.validation import Validation

SHOWN = 8  # images on a sample sheet


class TokenizerTask:
    """One pass of the autoencoder a batch serves both networks (arXiv:2012.09841, section 3.1).

    Each network lessens the sum of its terms (losses/protocol.py), the autoencoder the quantizer's loss too.
    While no term of logits counts the discriminator is not run. One pass of it serves both networks: the
    autoencoder gets from it the gradient at the images alone, where it meets that of the reconstruction.
    """

    averaged = AUTOENCODER
    computed: Sequence[str] = ("images", "maps", "segmentations")

    def __init__(
        self,
        training: TokenizerTraining,
        tokenizer: Tokenizer,
        discriminator: nn.Module | None,
        losses: Iterable[LossTerm],
    ) -> None:
        """losses: the terms; they stand on the device where the networks do."""
        self.terms = list(losses)
        assert discriminator is not None or not any(term.of_logits for term in self.terms), (
            "logits want a discriminator"
        )
        self.training, self.tokenizer, self.discriminator = training, tokenizer, discriminator
        self.networks: dict[str, nn.Module] = {AUTOENCODER: tokenizer.train()}
        self.autoencoder: nn.Module = Autoencoder(tokenizer)
        self.shown: nn.Module = tokenizer
        self.trained = tokenizer  # another one than what is shown where weights are sharded
        if training.recompute:
            recompute(tokenizer)
        for network in (tokenizer, discriminator, *self.terms):
            if network is not None:
                lay_out(network)
        self.discriminate: nn.Module | None = None
        if discriminator is not None:
            self.networks[DISCRIMINATOR] = discriminator.train()
            self.discriminate = OnBoth(discriminator)
        self.content = content(training.content, tokenizer.channels)
        device = tokenizer.last_layer.device
        self.recent = RecentCodes(codebook_size=tokenizer.codebook_size, device=device)
        distances = {name: of for term in self.terms for name, of in term.distances().items()}
        about = (training.content, tokenizer.codebook_size, distances)
        self.validation = Validation(training, device, about)

    @classmethod
    def build(cls, training: TokenizerTraining, device: torch.device) -> "TokenizerTask":
        """Build it with new networks, whose first weights follow from the seed."""
        adversarial, discriminator = training.losses.adversarial, None
        with seeded(torch.device("cpu"), training.seed):
            settings = TokenizerSettings(
                network=training.network,
                quantizer=training.quantizer,
                content="segmentation" if training.content == "segmentation" else "image",
                labels=reading(training.data) if training.content == "segmentation" else None,
                pixels=pixels.of(training),
            )
            tokenizer = Tokenizer(settings)
            if adversarial is not None:
                discriminator = PatchGAN(adversarial.patchgan, training.network.out_channels).to(device)
        found = [term.to(device) for term in terms(training.losses, training.content)]
        return cls(training, tokenizer.to(device), discriminator, found)

    def state(self) -> dict[str, Tensor]:
        """See Task: what the terms remember."""
        all_terms = nn.ModuleList(self.terms)
        held = dict(all_terms.named_parameters())
        return {name: tensor for name, tensor in all_terms.state_dict().items() if name not in held}

    def start(self, batch: Batch) -> None:
        """Give the quantizer its start, by latents without dropout."""
        with torch.no_grad():
            latents = strategy.current().gather(self.tokenizer.eval().latents(self.content.inputs(batch)))
        self.tokenizer.train()
        self.tokenizer.quantizer.start(latents, generator(self.training.seed, 2))
        self._share()

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> Sequence[nn.Module]:
        """See Task."""
        inner = strategy.current().inner
        self.autoencoder = wrap(self.autoencoder)
        self.trained = inner(self.autoencoder).tokenizer  # type: ignore[assignment]  # of an Autoencoder
        self.networks = {AUTOENCODER: self.trained}
        if self.discriminate is None:
            return [self.autoencoder]
        self.discriminate = wrap(self.discriminate)
        self.networks[DISCRIMINATOR] = inner(self.discriminate).discriminator  # type: ignore[assignment]
        return [self.autoencoder, self.discriminate]

    def losses(self, batch: Batch, step: int, part: int = 0) -> Losses:
        """See Task. Statistics: what the terms give; the reconstruction's own, weighted; the quantizer's."""
        real = self.content.inputs(batch)
        bypass = step < self.training.quantize_start
        latents, quantized, rebuilt, given = self.autoencoder(real, step, bypass)
        of_logits = [term for term in self.terms if term.of_logits and term.weight(step) is not None]
        felt = any(term.network == AUTOENCODER for term in of_logits)
        shown = rebuilt.detach().float().requires_grad_() if felt else rebuilt.float()
        found, statistics = self._values(AUTOENCODER, (real, shown, None), step)
        minimise = {AUTOENCODER: _total(found)}
        statistics |= {"reconstruction": minimise[AUTOENCODER], "quantizer": quantized.loss}
        statistics |= quantized.statistics
        if of_logits:
            assert self.discriminate is not None, "logits want a discriminator"
            logits = Logits(*self.discriminate(real, shown if felt else shown.detach()))
            found, more = self._values(AUTOENCODER, (real, shown, logits), step)
            statistics |= more
            if felt:
                own, last = minimise[AUTOENCODER], last_layer(self.trained.decoder.conv_out, given)
                minimise[AUTOENCODER], more = at_images.meet(rebuilt, shown, own, found, last)
                statistics |= more
            found, more = self._values(DISCRIMINATOR, (real, shown, logits), step)
            statistics |= more
            minimise |= {DISCRIMINATOR: _total(found)} if found else {}
        # times 0: several processes want a gradient, if only of zeros, for every weight
        loss = (quantized.loss + quantized.latents.mean()) * 0.0 if bypass else quantized.loss
        minimise[AUTOENCODER] = minimise[AUTOENCODER] + loss
        return Losses(
            minimise=minimise,
            statistics={name: value.detach() for name, value in statistics.items()},
            codes=quantized.codes,
            latents=latents.detach(),
        )

    def after_step(self, parts: Sequence[Losses], step: int) -> bool:
        """Let the quantizer look after its codebook; it begins anew before step `quantize_start`."""
        latents = strategy.current().gather(
            torch.cat([part.latents for part in parts if part.latents is not None])
        )
        draws = generator(self.training.seed, 3, step)
        if step < self.training.quantize_start:
            begins = step + 1 == self.training.quantize_start
            if begins:
                self.trained.quantizer.start(latents, draws)
            self._share()
            return begins
        self.trained.quantizer.after_step(latents, draws)
        self._share()
        for part in parts:
            if part.codes is not None:
                self.recent.add(part.codes)
        return False

    def summary(self) -> dict[str, float]:
        """Use of the codebook in the last 65,536 codes of this process, once there are any."""
        if not len(self.recent.codes()):
            return {}
        return {
            "codebook_size": self.tokenizer.codebook_size,
            "codebook_usage": self.recent.usage(),
            "codebook_perplexity": self.recent.perplexity(),
            "recent_codes": len(self.recent.codes()),
        }

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return the numbers of the metrics that the recipe names, or of those of every validation."""
        return self.validation.numbers(map(self._measured, batches))

    def samples(self, batch: Batch) -> UInt8[Tensor, "c H W"]:
        """Return images above, what their codes give below; classes of segmentations have colours."""
        real = self.content.inputs(batch)[:SHOWN]
        both = torch.cat([real, self.tokenizer.reconstruct(real, is_checked=True)])
        return imaging.grid(self.content.show(both), columns=len(real))

    def model(self) -> Tokenizer:
        """See Task."""
        return self.tokenizer

    def _measured(self, batch: Batch) -> Measured:
        """Return images and what their codes give."""
        real, codes = self.content.inputs(batch), None
        if self.tokenizer.has_codes:
            codes = self.tokenizer.encode(real, is_checked=True)
            rebuilt = self.tokenizer.decode(codes)
        else:
            rebuilt = self.tokenizer.reconstruct(real, is_checked=True)
        return Measured(real=real, fake=rebuilt, codes=codes)

    def _share(self) -> None:
        """Give all processes what no gradient keeps equal in them: codebook and statistics.

        Each has computed its codebook from the same latents, but on accelerators sums come out otherwise from
        process to process (`index_add_`); BatchNorm's running statistics are those of process 0's images.
        """
        judge = self.networks.get(DISCRIMINATOR)
        statistics = () if judge is None else judge.buffers()
        remembered = self.state().values()
        strategy.current().share([*self.trained.quantizer.state_dict().values(), *statistics, *remembered])

    def _values(
        self, network: str, given: tuple[Tensor, Tensor, Logits | None], step: int
    ) -> tuple[list[tuple[LossTerm, float, Tensor]], dict[str, Tensor]]:
        """Return the terms of a network that count, with weights and values, and their numbers for the log.

        given: real and rebuilt images; logits, and then the terms of logits, or None, and then the others.
        """
        found: list[tuple[LossTerm, float, Tensor]] = []
        statistics: dict[str, Tensor] = {}
        # from the last on: what is computed last is passed backward first, so that gradients add up in the
        # order of the list, as values do
        for term in reversed(self.terms):
            weight = term.weight(step)
            if weight is None or term.network != network or term.of_logits != (given[2] is not None):
                continue
            with torch.autocast(given[0].device.type, enabled=False):
                value, more = term(*given, step)
            found.insert(0, (term, weight, value))
            statistics = {**more, **statistics}
        return found, statistics


def _total(found: Sequence[tuple[LossTerm, float, Tensor]]) -> Float[Tensor, ""]:
    """Return the weighted sum of terms' values, in their order."""
    return reduce(add, [weight * value for _, weight, value in found])


def last_layer(layer: nn.Module, given: Tensor) -> tuple[Float[Tensor, "b c H W"], Float[Tensor, "..."]]:
    """Return what a layer makes of `given` once more, with a graph from its weight on, and that weight."""
    own = {name: held.detach() for name, held in layer.named_parameters()}
    weight = own["weight"].requires_grad_()
    return torch.func.functional_call(layer, own, (given,)), weight


class Autoencoder(nn.Module):
    """The tokenizer's way in training, as one forward pass."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(
        self, images: Float[Tensor, "b c H W"], step: int, bypass: bool
    ) -> tuple[Float[Tensor, "b m h w"], Quantized, Float[Tensor, "b c H W"], Float[Tensor, "b e H W"]]:
        """Return latents, what the quantizer makes of them, images rebuilt, and what came to the last layer.

        With bypass images are rebuilt from the latents themselves. What came to the last layer is detached.
        """
        latents = self.tokenizer.latents(images)
        quantized = self.tokenizer.quantize(latents, step)
        given: list[Tensor] = []
        layer = self.tokenizer.decoder.conv_out
        with layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach())):
            rebuilt = self.tokenizer.decode_latents(latents if bypass else quantized.latents)
        return latents, quantized, rebuilt, given[0]


class OnBoth(nn.Module):
    """The discriminator on real and rebuilt images, in two batches: BatchNorm sees each alone."""

    def __init__(self, discriminator: nn.Module) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, "b 1 y x"], Float[Tensor, "b 1 y x"]]:
        """Return the logits of both.

        ActNorm starts from the rebuilt ones, which the 2021 code too judges first.
        """
        of_fake = self.discriminator(fake)
        return self.discriminator(real), of_fake
