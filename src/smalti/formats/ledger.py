"""A list of a file's tensors on which each is crossed off: used, or dropped for a reason."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from smalti.errors import UserError

_NAMED = 3  # names of each kind in an error


class Ledger:
    """Strict both ways: `fill` leaves no parameter without a value, `finish` no tensor without a use."""

    def __init__(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """where: the file, for errors."""
        self._tensors, self._open, self.where = dict(tensors), dict.fromkeys(tensors), where
        self._dropped: dict[str, list[str]] = {}  # reason -> names
        self._gone: dict[str, None] = {}  # the names alone

    def take(self, name: str) -> Tensor:
        """Return a tensor that is used; UserError if the file has none of that name."""
        if name not in self._tensors:
            near = [other for other in self._tensors if other.endswith(name.rsplit(".", 1)[-1])]
            got = f"none among {len(self._tensors)} tensors, such as {', '.join(near[:_NAMED])}"
            raise UserError(f"{name} in {self.where}", got, "the file is incomplete, or of another kind")
        self._open.pop(name, None)
        return self._tensors[name]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return all tensors not yet crossed off whose names begin with the prefix, without it.

        They are used.
        """
        names = [name for name in self._open if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.take(name) for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def drop(self, name: str, why: str) -> None:
        """Leave out a tensor, also one that was looked at.

        Where `name` ends with a dot: all below it that are neither used nor dropped yet.
        """
        below = [key for key in self._open if name.endswith(".") and key.startswith(name)]
        names = [key for key in [name, *below] if key in self._tensors and key not in self._gone]
        self._gone |= dict.fromkeys(names)
        for key in names:
            self._open.pop(key, None)
        if names:
            self._dropped.setdefault(why, []).extend(names)

    def drop_rest(self, why: str) -> None:
        """Leave out whatever is neither used nor dropped yet."""
        for name in list(self._open):
            self.drop(name, why)

    def equal(self, prefix: str, other: str) -> bool:
        """Return whether the tensors below two prefixes have the same names and numbers."""
        first, second = (
            {
                name.removeprefix(start): tensor
                for name, tensor in self._tensors.items()
                if name.startswith(start)
            }
            for start in (prefix, other)
        )
        return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)

    def finish(self) -> tuple[str, ...]:
        """Return what was dropped, a line for each reason.

        UserError for a tensor neither used nor dropped.
        """
        if self._open:
            left = list(self._open)
            shapes = [f"{name} {tuple(self._tensors[name].shape)}" for name in left[:_NAMED]]
            got = f"{len(left)} more: {', '.join(shapes)}{', ...' * (len(left) > _NAMED)}"
            raise UserError(f"tensors of this model alone in {self.where}", got, _cause(left))
        return tuple(f"{why}: {told(names)}" for why, names in self._dropped.items())


def fill(module: nn.Module, weights: Mapping[str, Tensor], theirs: Callable[[str], str], where: str) -> None:
    """Give a module its weights. weights, theirs, UserError: as `check_fit`."""
    check_fit(module, weights, theirs, where)
    module.load_state_dict(weights)


def check_fit(
    module: nn.Module, weights: Mapping[str, Tensor], theirs: Callable[[str], str], where: str
) -> None:
    """Check that weights are those of a module, strict both ways.

    UserError names keys as the file does, and shapes.
    weights: by the module's own names. theirs: a name of ours -> the file's.
    """
    own = module.state_dict()
    missing = [theirs(name) for name in own if name not in weights]
    extra = [f"{theirs(name)} {tuple(weights[name].shape)}" for name in weights if name not in own]
    shapes = [
        f"{theirs(name)} {tuple(weights[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    kinds = {"missing": missing, "unknown": extra, "of another shape": shapes}
    if any(kinds.values()):
        found = [
            f"{len(names)} {kind} ({', '.join(names[:_NAMED])})" for kind, names in kinds.items() if names
        ]
        raise UserError(
            f"weights in {where} that fit its settings", "; ".join(found), _cause(missing + extra)
        )


def _cause(names: list[str]) -> str:
    if any("attn" in name for name in names):
        return "attn_resolutions or attn_type differs: give the model's own yaml with --config"
    if any(name.startswith(("cond_stage_model.", "transformer.", "first_stage_model.")) for name in names):
        return "the file holds a whole model: choose with --part first_stage, cond_stage or all"
    return "it is of another model or incomplete: give the model's own yaml with --config, or the whole file"


def told(names: list[str]) -> str:
    """Name one tensor, or count several and name the first."""
    return names[0] if len(names) == 1 else f"{len(names)} tensors ({names[0]}, ...)"
