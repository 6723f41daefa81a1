"""Learning a tokenizer: rebuild pictures, and deceive a critic that learns to tell them from real ones."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smalti import images
from smalti.data.maps import reading
from smalti.data.protocol import Batch
from smalti.losses import OBJECTIVES, at_pictures, perceptual
from smalti.losses.adaptive_weight import adaptive_weight
from smalti.losses.patchgan import PatchGAN
from smalti.quantizers.protocol import Quantized
from smalti.quantizers.usage import RecentCodes, perplexity, usage
from smalti.tokenizer import Tokenizer, TokenizerSettings
from smalti.tokenizer.use import lay_out
from smalti.training import pixels, processes
from smalti.training.contents import content
from smalti.training.recompute import recompute
from smalti.training.seeds import generator, seeded
from smalti.training.settings import TokenizerTraining
from smalti.training.task import Losses

AUTOENCODER, CRITIC = "autoencoder", "critic"
SHOWN = 8  # pictures on a sample sheet


class TokenizerTask:
    """One pass of the autoencoder a batch serves both networks (arXiv:2012.09841, section 3.1).

    The autoencoder lessens l1 + l2 + perceptual + quantizer + weight * factor(step) * lambda * adversarial,
    the critic its own loss on the same reconstructions, detached. Before it trains the critic is not run;
    before it is felt lambda is not computed. One pass of the critic serves both losses too: the autoencoder
    gets from it the gradient at the pictures alone, where it meets that of the reconstruction.
    """

    averaged = AUTOENCODER
    computed: Sequence[str] = ("images", "maps", "segmentations")

    def __init__(
        self,
        training: TokenizerTraining,
        tokenizer: Tokenizer,
        critic: nn.Module | None,
        distance: nn.Module | None,
    ) -> None:
        """distance: the perceptual one, (real, rebuilt) -> "b"; None where its weight is 0."""
        assert (critic is None) == (training.losses.adversarial is None), "a critic goes with its settings"
        self.training, self.tokenizer, self.critic = training, tokenizer, critic
        self.networks: Mapping[str, nn.Module] = {AUTOENCODER: tokenizer.train()}
        self.autoencoder: nn.Module = Autoencoder(tokenizer)
        if training.recompute:
            recompute(tokenizer)
        for network in (tokenizer, critic, distance):
            if network is not None:
                lay_out(network)
        self.judge: nn.Module | None = None
        if critic is not None:
            self.networks = {**self.networks, CRITIC: critic.train()}
            self.judge = Judge(critic)
        self.content = content(training.content, training.losses, distance, tokenizer.channels)
        self.recent = RecentCodes(codebook_size=tokenizer.codebook_size, device=tokenizer.last_layer.device)

    @classmethod
    def build(cls, training: TokenizerTraining, device: torch.device) -> "TokenizerTask":
        """With new networks, whose first weights follow from the seed."""
        weights, critic = training.losses, None
        with seeded(torch.device("cpu"), training.seed):
            settings = TokenizerSettings(
                network=training.network,
                quantizer=training.quantizer,
                content="segmentation" if training.content == "segmentation" else "picture",
                labels=reading(training.data) if training.content == "segmentation" else None,
                pixels=pixels.of(training),
            )
            tokenizer = Tokenizer(settings)
            if weights.adversarial is not None:
                critic = PatchGAN(weights.adversarial.patchgan, training.network.out_channels)
        _, distance = perceptual.find(weights.perceptual)
        parts = [part if part is None else part.to(device) for part in (critic, distance)]
        return cls(training, tokenizer.to(device), *parts)

    def start(self, batch: Batch) -> None:
        """Give the quantizer its start, by latents without dropout."""
        with torch.no_grad():
            latents = processes.gather(self.tokenizer.eval().latents(self.content.inputs(batch)))
        self.tokenizer.train()
        self.tokenizer.quantizer.start(latents, generator(self.training.seed, 2))
        self._share()

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> Sequence[nn.Module]:
        """See Task."""
        self.autoencoder = wrap(self.autoencoder)
        if self.judge is None:
            return [self.autoencoder]
        self.judge = wrap(self.judge)
        return [self.autoencoder, self.judge]

    def losses(self, batch: Batch, step: int, part: int = 0) -> Losses:
        """See Task. Statistics: every term unweighted, lambda, the critic's mean scores."""
        real = self.content.inputs(batch)
        bypass = step < self.training.quantize_from
        latents, quantized, rebuilt = self.autoencoder(real, step, bypass)
        adversarial = self.training.losses.adversarial
        felt = adversarial is not None and adversarial.factor(step) > 0
        shown = rebuilt.detach().float().requires_grad_() if felt else rebuilt.float()
        with torch.autocast(real.device.type, enabled=False):
            reconstruction, terms = self.content.difference(real, shown)
        own = {"reconstruction": reconstruction, "quantizer": quantized.loss}
        statistics = {**terms, **own, **quantized.statistics}
        # times 0: several processes want a gradient, if only of zeros, for every weight
        loss = (quantized.loss + quantized.latents.mean()) * 0.0 if bypass else quantized.loss
        minimise = {AUTOENCODER: reconstruction}
        if adversarial is not None and adversarial.critic_trains(step):
            assert self.judge is not None, "trains without being there"
            scores = self.judge(real, shown if felt else shown.detach())
            if felt:
                minimise[AUTOENCODER], more = self._deceive(rebuilt, shown, reconstruction, scores[1], step)
                statistics |= more
            minimise[CRITIC], more = self._judge(*scores)
            statistics |= more
        minimise[AUTOENCODER] = minimise[AUTOENCODER] + loss
        return Losses(
            minimise=minimise,
            statistics={name: value.detach() for name, value in statistics.items()},
            codes=quantized.codes,
            latents=latents.detach(),
        )

    def after_step(self, parts: Sequence[Losses], step: int) -> bool:
        """Let the quantizer look after its codebook; it begins anew before step `quantize_from`."""
        latents = processes.gather(torch.cat([part.latents for part in parts if part.latents is not None]))
        draws = generator(self.training.seed, 3, step)
        if step < self.training.quantize_from:
            begins = step + 1 == self.training.quantize_from
            if begins:
                self.tokenizer.quantizer.start(latents, draws)
            self._share()
            return begins
        self.tokenizer.quantizer.after_step(latents, draws)
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
        """Means over pictures (or segmentations) of what their content measures; use of the codebook."""
        rows, codes = [], []
        for batch in batches:
            real = self.content.inputs(batch)
            if self.tokenizer.has_codes:
                codes.append(self.tokenizer.encode(real, is_checked=True))
                rebuilt = self.tokenizer.decode(codes[-1])
            else:
                rebuilt = self.tokenizer.reconstruct(real, is_checked=True)
            rows.append(self.content.measures(real, rebuilt))
        means = {name: torch.cat([row[name] for row in rows]).mean().item() for name in rows[0]}
        size = self.tokenizer.codebook_size
        if not codes:
            return means
        used = {
            "codebook_usage": usage(torch.cat(codes), size),
            "codebook_perplexity": perplexity(torch.cat(codes), size),
        }
        return {**means, **used}

    def samples(self, batch: Batch) -> UInt8[Tensor, "c H W"]:
        """Pictures above, what their codes give below; classes of segmentations have colours."""
        real = self.content.inputs(batch)[:SHOWN]
        both = torch.cat([real, self.tokenizer.reconstruct(real, is_checked=True)])
        return images.grid(self.content.show(both), columns=len(real))

    def model(self) -> Tokenizer:
        """See Task."""
        return self.tokenizer

    def _share(self) -> None:
        """Give all processes what no gradient keeps equal in them: the codebook, the critic's statistics.

        Each has computed its codebook from the same latents, but on accelerators sums come out otherwise from
        process to process (`index_add_`); BatchNorm's running statistics are those of process 0's pictures.
        """
        statistics = () if self.critic is None else self.critic.buffers()
        processes.share([*self.tokenizer.quantizer.state_dict().values(), *statistics])

    def _deceive(
        self, rebuilt: Tensor, shown: Tensor, reconstruction: Tensor, scores: Tensor, step: int
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The reconstruction's loss and what the critic makes of the pictures, weighted.

        Both were computed from `shown`, whose graph ends there; what is given has that of `rebuilt`.
        """
        adversarial = self.training.losses.adversarial
        assert adversarial is not None, "felt without settings"
        term = OBJECTIVES[adversarial.objective].generator(scores)
        gradients = at_pictures.gradient(reconstruction, shown), at_pictures.gradient(term, shown, keep=True)
        balance = torch.ones_like(term)
        if adversarial.adaptive:
            delta, clamp, layer = adversarial.delta, adversarial.clamp, self.tokenizer.last_layer
            balance = adaptive_weight(rebuilt, *gradients, layer, delta=delta, clamp=clamp)
        weight = adversarial.weight * adversarial.factor(step) * balance
        both = gradients[0] + weight * gradients[1]
        felt = at_pictures.carry(rebuilt, reconstruction + weight * term, both)
        return felt, {"adversarial": term, "adaptive_weight": balance}

    def _judge(self, of_real: Tensor, of_fake: Tensor) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The critic's own loss, from its scores."""
        adversarial = self.training.losses.adversarial
        assert adversarial is not None, "trains without settings"
        loss = OBJECTIVES[adversarial.objective].critic(of_real, of_fake)
        return loss, {"logits_real": of_real.float().mean(), "logits_fake": of_fake.float().mean()}


class Autoencoder(nn.Module):
    """The tokenizer's way in training, as one forward pass."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(
        self, pictures: Float[Tensor, "b c H W"], step: int, bypass: bool
    ) -> tuple[Float[Tensor, "b m h w"], Quantized, Float[Tensor, "b c H W"]]:
        """Latents, what the quantizer makes of them, and pictures rebuilt: with bypass from the former."""
        latents = self.tokenizer.latents(pictures)
        quantized = self.tokenizer.quantize(latents, step)
        return latents, quantized, self.tokenizer.decode_latents(latents if bypass else quantized.latents)


class Judge(nn.Module):
    """The critic on real and rebuilt pictures, in two batches: BatchNorm takes the statistics of each."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(
        self, real: Float[Tensor, "b c H W"], fake: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, "b 1 y x"], Float[Tensor, "b 1 y x"]]:
        """Scores of both. ActNorm starts from the rebuilt ones, which the 2021 code too judges first."""
        of_fake = self.critic(fake)
        return self.critic(real), of_fake
