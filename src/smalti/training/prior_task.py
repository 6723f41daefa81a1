"""Learning a prior: which code comes next, given the codes before it and the condition."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from smalti import imaging, strategy
from smalti.conditions.context import Prefix
from smalti.conditions.protocol import Known
from smalti.data.protocol import Batch
from smalti.metrics.protocol import Measured
from smalti.pipeline import Pipeline, PipelineSettings
from smalti.priors.protocol import Prior
from smalti.quantizers.usage import RecentCodes
from smalti.tokenizer import Tokenizer
from smalti.training.recompute import recompute
from smalti.training.seeds import generator, seeded
from smalti.training.settings import PriorTraining
from smalti.training.task import Losses
from smalti.training.validation import Validation

PRIOR = "prior"
SHOWN = 8  # images on a sample sheet
REMEMBERED = 2**20  # codes whose frequencies give the unigram entropy


class Objective(nn.Module):
    """A prior's loss as a forward pass, which is what runs in several processes."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def forward(
        self,
        codes: Int64[Tensor, "b n"],
        prefix: Prefix,
        rng: torch.Generator,
        *,
        pkeep: float,
        grid: tuple[int, int],
    ) -> Float[Tensor, ""]:
        """See Prior.loss; of crops of so many cells."""
        return self.prior.at(grid).loss(codes, prefix, rng, pkeep=pkeep)


class PriorTask:
    """The prior's own objective (`Prior.loss`); tokenizers are frozen.

    What varies conditions, and all that chance does in the objective, draws from (seed, step, process).
    """

    averaged = PRIOR
    computed: Sequence[str] = ("images", "codes")

    def __init__(self, training: PriorTraining, model: Pipeline) -> None:
        self.training, self.pipeline = training, model
        self.networks: dict[str, nn.Module] = {PRIOR: model.prior.train()}
        self.objective: nn.Module = Objective(model.prior)
        self.shown: nn.Module = model.prior
        if training.recompute:
            recompute(model.prior)
        for frozen in (model.tokenizer, model.condition):
            frozen.requires_grad_(False).eval()
        size, device = model.prior.codebook_size, model.order.device
        self.recent = RecentCodes(codebook_size=size, num=REMEMBERED, device=device)
        self.validation = Validation(training, device, ("", size, {}))

    @classmethod
    def build(
        cls,
        training: PriorTraining,
        tokenizer: Tokenizer,
        device: torch.device,
        part: nn.Module | None = None,
    ) -> "PriorTask":
        """Build it with a new prior, whose first weights follow from the seed. part: see Pipeline."""
        factor = tokenizer.factor
        grids = tuple((height // factor, width // factor) for height, width in training.sizes)
        settings = PipelineSettings(
            prior=training.prior,
            condition=training.condition,
            order=training.order,
            grid=grids if len(grids) > 1 else grids[0],
        )
        with seeded(torch.device("cpu"), training.seed):
            model = Pipeline(settings, tokenizer, part)
        return cls(training, model.to(device))

    def start(self, batch: Batch) -> None:
        """See Task: nothing to do."""

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> Sequence[nn.Module]:
        """See Task."""
        self.objective = wrap(self.objective)
        # another one than the model's where weights are sharded
        self.networks[PRIOR] = strategy.current().inner(self.objective).prior  # type: ignore[assignment]
        return [self.objective]

    def state(self) -> dict[str, Tensor]:
        """See Task: none."""
        return {}

    def losses(self, batch: Batch, step: int, part: int = 0) -> Losses:
        """See Task. Only codes are scored, not the prefix; they are clean, also where those shown are not."""
        codes = self._codes(batch)
        draws = generator(self.training.seed, 4, step, strategy.current().rank, part)
        targets = self.pipeline.sequence(codes)
        grid, condition = (codes.shape[1], codes.shape[2]), self.pipeline.condition
        with torch.autocast(codes.device.type, enabled=False):  # as for the images' codes
            known = condition.from_batch(batch)
            context = condition.encode(known, num=len(codes), grid=grid, device=codes.device)
            prefix = condition.drop(context, len(codes), draws).window(0, 0, *grid)
        loss = self.objective(targets, prefix, draws, pkeep=self.training.pkeep, grid=grid)
        return Losses(minimise={PRIOR: loss}, statistics={}, codes=codes)

    def after_step(self, parts: Sequence[Losses], step: int) -> bool:
        """Remember the codes."""
        for part in parts:
            assert part.codes is not None, "a prior has codes"
            self.recent.add(part.codes)
        return False

    def summary(self) -> dict[str, float]:
        """Return what to hold the loss against, in nats a token: no knowledge; the frequencies of the codes.

        The latter is the entropy of the last 1,048,576 codes of this process.
        """
        return {
            "ln_codebook_size": math.log(self.pipeline.tokenizer.codebook_size),
            "unigram_nats": math.log(self.recent.perplexity()),
            "codebook_usage": self.recent.usage(),
        }

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Return nats a token of held-out codes, or what the prior knows of them, or what the recipe names.

        Images are drawn for the conditions of the held-out ones, always of the same seeds.
        """
        return self.validation.numbers(self._measured(batches))

    def samples(self, batch: Batch) -> UInt8[Tensor, "c H W"]:
        """Draw new images for the conditions of a batch, always of the same seeds."""
        told = self._condition(batch, SHOWN)
        num, size = min(SHOWN, batch.size), self._size(batch)
        drawn = self.pipeline.sample(num=num, size=size, seed=0, **told).tensors
        return imaging.grid(imaging.to_uint8(imaging.visible(drawn)), columns=SHOWN // 2)

    def model(self) -> Pipeline:
        """See Task."""
        return self.pipeline

    def _measured(self, batches: Iterable[Batch]) -> Iterator[Measured]:
        done = 0
        for batch in batches:
            codes, told = self._codes(batch), self._condition(batch)
            nats = self.pipeline.nats(codes, **told) if self.validation.of_nats else None
            real, fake = None, None
            if self.validation.of_images:
                size = self._size(batch)
                fake = self.pipeline.sample(num=batch.size, size=size, seed=done, **told).tensors
                real = self.pipeline.tokenizer.decode(codes) if batch.images is None else batch.images
            yield Measured(real=real, fake=fake, codes=codes, nats=nats)
            done += batch.size

    def _size(self, batch: Batch) -> tuple[int, int]:
        """Return height and width of the crops in pixels."""
        height, width = batch.sides
        factor = self.pipeline.tokenizer.factor if batch.codes is not None else 1
        return height * factor, width * factor

    def _codes(self, batch: Batch) -> Int64[Tensor, "b h w"]:
        if batch.codes is not None:
            return batch.codes
        assert batch.images is not None, "a batch has images or codes"
        with torch.autocast(batch.images.device.type, enabled=False):  # the codes that sampling will decode
            return self.pipeline.tokenizer.encode(batch.images, is_checked=True)

    def _condition(self, batch: Batch, most: int | None = None) -> dict[str, Known]:
        """Return the condition of a batch, of its first samples, as methods of a Pipeline take it."""
        condition = self.pipeline.condition
        known = condition.from_batch(batch)
        return condition.given(Known(known if known is None else known[:most]))
