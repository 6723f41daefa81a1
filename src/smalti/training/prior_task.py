"""Learning a prior: which code comes next, given the codes before it and the condition."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor, nn

from smalti import images
from smalti.conditions.protocol import Known
from smalti.data.protocol import Batch
from smalti.generator import Generator, GeneratorSettings
from smalti.priors.corrupt import corrupt
from smalti.quantizers.usage import RecentCodes
from smalti.tokenizer import Tokenizer
from smalti.training import processes
from smalti.training.seeds import generator, seeded
from smalti.training.settings import PriorTraining
from smalti.training.task import Losses

PRIOR = "prior"
SHOWN = 8  # pictures on a sample sheet
REMEMBERED = 2**20  # codes whose frequencies give the unigram entropy


class PriorTask:
    """Cross-entropy of the codes in nats a token (arXiv:2012.09841, eq. 10); tokenizers are frozen.

    What varies conditions and corrupts the codes shown (pkeep) draws from (seed, step, process).
    """

    averaged = PRIOR
    computed: Sequence[str] = ("images", "codes")

    def __init__(self, training: PriorTraining, model: Generator) -> None:
        assert isinstance(model.prior, nn.Module), "a prior has weights"
        self.training, self.generator = training, model
        self.networks: Mapping[str, nn.Module] = {PRIOR: model.prior.train()}
        self.prior: nn.Module = model.prior
        for frozen in (model.tokenizer, model.condition):
            frozen.requires_grad_(False).eval()
        size, device = model.prior.codebook_size, model.order.device
        self.recent = RecentCodes(codebook_size=size, num=REMEMBERED, device=device)

    @classmethod
    def build(
        cls,
        training: PriorTraining,
        tokenizer: Tokenizer,
        device: torch.device,
        part: nn.Module | None = None,
    ) -> "PriorTask":
        """With a new prior, whose first weights follow from the seed. part: see Generator."""
        height, width = (side // tokenizer.factor for side in training.crop_size)
        settings = GeneratorSettings(
            prior=training.prior, condition=training.condition, order=training.order, grid=(height, width)
        )
        with seeded(torch.device("cpu"), training.seed):
            model = Generator(settings, tokenizer, part)
        return cls(training, model.to(device))

    def start(self, batch: Batch) -> None:
        """See Task: nothing to do."""

    def distribute(self, wrap: Callable[[nn.Module], nn.Module]) -> Sequence[nn.Module]:
        """See Task."""
        self.prior = wrap(self.prior)
        return [self.prior]

    def losses(self, batch: Batch, step: int, part: int = 0) -> Losses:
        """See Task. Only codes are scored, not the prefix; they are clean, also where those shown are not."""
        codes = self._codes(batch)
        draws = generator(self.training.seed, 4, step, processes.rank(), part)
        targets = self.generator.sequence(codes)
        grid, condition = self.generator.settings.grid, self.generator.condition
        with torch.autocast(codes.device.type, enabled=False):  # as for the pictures' codes
            known = condition.from_batch(batch)
            context = condition.encode(known, num=len(codes), grid=grid, device=codes.device)
            prefix = condition.drop(context, len(codes), draws).window(0, 0, *grid)
        shown = targets
        if self.training.pkeep < 1:
            size = self.generator.tokenizer.codebook_size
            shown = corrupt(targets, pkeep=self.training.pkeep, codebook_size=size, generator=draws)
        scores = self.prior(shown, prefix).float()
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        return Losses(minimise={PRIOR: loss}, statistics={}, codes=codes)

    def after_step(self, parts: Sequence[Losses], step: int) -> bool:
        """Remember the codes."""
        for part in parts:
            assert part.codes is not None, "a prior has codes"
            self.recent.add(part.codes)
        return False

    def summary(self) -> dict[str, float]:
        """What to hold the loss against, in nats a token: no knowledge; the frequencies of the codes.

        The latter is the entropy of the last 1,048,576 codes of this process.
        """
        return {
            "ln_codebook_size": math.log(self.generator.tokenizer.codebook_size),
            "unigram_nats": math.log(self.recent.perplexity()),
            "codebook_usage": self.recent.usage(),
        }

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Nats a token of held-out codes."""
        total, tokens = 0.0, 0
        for batch in batches:
            codes = self._codes(batch)
            total += self.generator.nats_per_token(codes, **self._condition(batch)) * codes.numel()
            tokens += codes.numel()
        return {"nats_per_token": total / tokens}

    def samples(self, batch: Batch) -> UInt8[Tensor, "c H W"]:
        """New pictures for the conditions of a batch, always of the same seeds."""
        told = self._condition(batch, SHOWN)
        drawn = self.generator.sample(num=min(SHOWN, batch.size), seed=0, output="tensor", **told)
        return images.grid(images.to_uint8(images.visible(drawn)), columns=SHOWN // 2)

    def model(self) -> Generator:
        """See Task."""
        return self.generator

    def _codes(self, batch: Batch) -> Int64[Tensor, "b h w"]:
        if batch.codes is not None:
            return batch.codes
        assert batch.images is not None, "a batch has pictures or codes"
        with torch.autocast(batch.images.device.type, enabled=False):  # the codes that sampling will decode
            return self.generator.tokenizer.encode(batch.images, is_checked=True)

    def _condition(self, batch: Batch, most: int | None = None) -> dict[str, Known]:
        """The condition of a batch, of its first samples, as methods of a Generator take it."""
        condition = self.generator.condition
        return (
            {}
            if condition.argument is None
            else {condition.argument: Known(condition.from_batch(batch)[:most])}
        )
