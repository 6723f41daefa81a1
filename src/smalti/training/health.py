"""Alarms: what the numbers of a log say about a run that goes wrong, each with what to do about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Line = Mapping[str, float]  # the values of one train line, by name, and its step

SETTLED = 200  # steps over which a codebook is watched: at first every codebook is used badly


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something that looks wrong."""

    name: str
    finding: str
    remedy: str


def examine(lines: Sequence[Line]) -> list[Alarm]:
    """Return all alarms that the last train lines of a log (oldest first) give rise to."""
    found = (check(lines) for check in CHECKS)
    return [alarm for alarm in found if alarm is not None]


def non_finite(lines: Sequence[Line]) -> Alarm | None:
    """Return an alarm for several steps skipped since the line before, as numbers were not finite."""
    skipped = lines[-1].get("skipped", 0) - (lines[-2].get("skipped", 0) if len(lines) > 1 else 0)
    if skipped < 3:
        return None
    return Alarm(
        name="non_finite",
        finding=f"{skipped:.0f} steps skipped since the last line: a loss or a gradient was not finite",
        remedy="halve optimizer.lr, set clip=1.0, use precision=fp32",
    )


def codebook_collapse(lines: Sequence[Line]) -> Alarm | None:
    """Return an alarm where for 200 steps few entries are used, and it gets no better.

    Few: under a quarter of the entries that as many recent codes, spread evenly, would reach, or a perplexity
    under a tenth of their number. Better: a perplexity that grew by a quarter meanwhile.
    """
    last = _settled([line for line in lines if "codebook_perplexity" in line])  # a tokenizer's
    if not last:
        return None
    usage = max(line["codebook_usage"] * line["codebook_size"] / _reachable(line) for line in last)
    evenness = max(line["codebook_perplexity"] / _reachable(line) for line in last)
    grows = last[-1]["codebook_perplexity"] > 1.25 * last[0]["codebook_perplexity"]
    if grows or (usage >= 0.25 and evenness >= 0.1):
        return None
    now = last[-1]
    used = f"{100 * now['codebook_usage']:.1f} % of the codebook is in use"
    return Alarm(
        name="codebook_collapse",
        finding=f"{used}, perplexity {now['codebook_perplexity']:.1f} of {now['codebook_size']:.0f}",
        remedy="fewer codes or a lower optimizer.lr; where quantizer.kind is vq also kmeans_start=true with "
        "quantize_start=500, and revive_below=0.1 with usage_decay=0.9",
    )


def discriminator_saturated(lines: Sequence[Line]) -> Alarm | None:
    """Return an alarm where the discriminator told real from fake without effort for 10 lines.

    It no longer teaches.
    """
    last = [line for line in lines[-10:] if "logits_real" in line]
    if len(last) < 10:
        return None
    gap = min(line["logits_real"] - line["logits_fake"] for line in last)
    loss = max(line["loss/discriminator"] for line in last)
    if gap < 8 and loss >= 0.02:  # the hinge is content at a gap of 2
        return None
    return Alarm(
        name="discriminator_saturated",
        finding=f"the discriminator has won: logits {gap:.1f} apart or more, its loss {loss:.3f} or less",
        remedy="a lower discriminator_optimizer.lr or losses.adversarial.weight",
    )


def _settled(lines: Sequence[Line]) -> Sequence[Line]:
    """Return the newest lines that span SETTLED steps, three or more.

    Empty where there are not as many yet.
    """
    starts = [n for n, line in enumerate(lines[:-2]) if line["step"] <= lines[-1]["step"] - SETTLED]
    return lines[starts[-1] :] if starts else ()


def _reachable(line: Line) -> float:
    """Return how many entries the recent codes would reach if drawn evenly from the codebook."""
    size = line["codebook_size"]
    return size * (1 - (1 - 1 / size) ** line["recent_codes"])


Check = Callable[[Sequence[Line]], Alarm | None]
CHECKS: tuple[Check, ...] = (non_finite, codebook_collapse, discriminator_saturated)
