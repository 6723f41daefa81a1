"""Alarms: what the numbers of a log say about a run that goes wrong, each with what to do about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Line = Mapping[str, float]  # the values of one train line, by name


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something that looks wrong."""

    name: str
    finding: str
    remedy: str


def examine(lines: Sequence[Line]) -> list[Alarm]:
    """All alarms that the last train lines of a log (oldest first) give rise to."""
    found = (check(lines) for check in CHECKS)
    return [alarm for alarm in found if alarm is not None]


def non_finite(lines: Sequence[Line]) -> Alarm | None:
    """Several steps skipped since the line before, for a loss or gradient that is not a number."""
    skipped = lines[-1].get("skipped", 0) - (lines[-2].get("skipped", 0) if len(lines) > 1 else 0)
    if skipped < 3:
        return None
    return Alarm(
        name="non_finite",
        finding=f"{skipped:.0f} steps skipped since the last line: a loss or a gradient was not finite",
        remedy="halve optimizer.lr, set clip=1.0, use precision=fp32",
    )


def codebook_collapse(lines: Sequence[Line]) -> Alarm | None:
    """The last 3 lines all use few entries: under 5 % of them, or as if under 2 % were used equally often."""
    last = [line for line in lines[-3:] if "codebook_perplexity" in line]  # a tokenizer's
    if len(last) < 3:
        return None
    usage = max(line["codebook_usage"] for line in last)
    perplexity = max(line["codebook_perplexity"] / line["codebook_size"] for line in last)
    if usage >= 0.05 and perplexity >= 0.02:
        return None
    return Alarm(
        name="codebook_collapse",
        finding=f"{100 * usage:.1f} % of the codebook is in use, evenness {100 * perplexity:.1f} %",
        remedy="quantizer.kmeans_start=true with quantize_from=500, quantizer.revive_below=0.1 with "
        "quantizer.usage_decay=0.9, fewer codes, or a lower optimizer.lr",
    )


def critic_saturated(lines: Sequence[Line]) -> Alarm | None:
    """The critic tells real from fake without effort in the last 10 lines: it no longer teaches."""
    last = [line for line in lines[-10:] if "logits_real" in line]
    if len(last) < 10:
        return None
    gap = min(line["logits_real"] - line["logits_fake"] for line in last)
    loss = max(line["loss/critic"] for line in last)
    if gap < 8 and loss >= 0.02:  # the hinge is content at a gap of 2
        return None
    return Alarm(
        name="critic_saturated",
        finding=f"the critic has won: logits {gap:.1f} apart or more, its loss {loss:.3f} or less",
        remedy="a lower critic_optimizer.lr or losses.adversarial.weight",
    )


Check = Callable[[Sequence[Line]], Alarm | None]
CHECKS: tuple[Check, ...] = (non_finite, codebook_collapse, critic_saturated)
