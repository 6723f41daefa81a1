"""What the codes of real images cost: use of a codebook, bits, likelihood under a prior."""

import math

from smalti.evaluation.evidence import Evidence
from smalti.evaluation.measures.protocol import GENERATION, RECONSTRUCTION, Found, Measure
from smalti.evaluation.record import Number
from smalti.metrics.codes import bits_per_pixel, unigram_nats
from smalti.quantizers.usage import perplexity, usage


class Use(Measure):
    """How many entries of the codebook occur over the whole set, and how evenly."""

    tasks, of_features = (RECONSTRUCTION,), False

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        codes, size = evidence.codes, evidence.codebook_size
        if codes is None:
            return
        protocol, flat, beside = evidence.protocol, codes.flatten(), {"tokens": codes.numel()}
        for name, value, title in (
            ("codebook_usage", usage(flat, size), "share of the codebook that occurs"),
            ("codebook_perplexity", perplexity(flat, size), f"perplexity of the codes, of {size} at most"),
        ):
            yield name, Number(value=value, title=title, better="higher", beside=beside, protocol=protocol)


class Bits(Measure):
    """The bits a pixel that codes take: each alike, and by their frequencies."""

    tasks, of_features = (RECONSTRUCTION,), False

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure."""
        codes, size = evidence.codes, evidence.codebook_size
        if codes is None:
            return
        protocol, entropy = evidence.protocol, perplexity(codes.flatten(), size)
        for name, nats, title in (
            ("bits_per_pixel", math.log(size), "bits a pixel of the codes, each of them alike"),
            ("entropy_bits_per_pixel", math.log(entropy), "bits a pixel by the frequencies of these codes"),
        ):
            value = bits_per_pixel(nats * codes.numel(), evidence.pixels * len(codes))
            yield name, Number(value=value, title=title, better="lower", protocol=protocol)


class Likelihood(Measure):
    """How likely the prior finds the codes of real images."""

    tasks, of_features = (GENERATION,), False

    def numbers(self, evidence: Evidence) -> Found:
        """See Measure. An upper bound has a name of its own."""
        found, codes = evidence.nats, evidence.codes
        if found is None or codes is None:
            return
        end = "_at_most" if found.is_bound else ""
        protocol = {**evidence.protocol, "bound": found.is_bound}
        seen, whose = evidence.train_codes, "in training images"
        if seen is None:
            seen, whose = codes, "in these images"
        beside = {
            f"by the frequencies of codes {whose}": unigram_nats(seen, codes, evidence.codebook_size),
            "ln of the codebook's size": math.log(evidence.codebook_size),
            "tokens": found.tokens,
        }
        a_token = found.total / found.tokens
        title = "nats a token of real images"
        yield (
            f"nats_per_token{end}",
            Number(value=a_token, title=title, better="lower", beside=beside, protocol=protocol),
        )
        a_pixel = bits_per_pixel(found.total, evidence.pixels * len(codes))
        title = "bits a pixel of real images under the prior"
        yield f"bits_per_pixel{end}", Number(value=a_pixel, title=title, better="lower", protocol=protocol)
