"""Images from the graphs in this folder, by numpy and onnxruntime alone: pip install numpy onnxruntime.

This file lies beside the graphs as it lies in smalti, which checks an export through it. In use:

    from draw import Model
    model = Model("FOLDER")
    codes = model.encode(images)                      # float32 (b c H W) in [-1, 1] -> int64 (b h w)
    images = model.decode(codes)                      # and back, not clipped
    codes = model.draw(prefix, seeds, top_p=0.95)     # int64 (b m), one prefix an image -> int64 (b h w)
    model.recheck()                                   # the codes that torch gave, once more, on this machine

Chance is a hash of (seed, cell, code), computed here and not in a graph: several runtimes compute 64-bit
integers in 32 bits without a word, and each filter would need a graph of its own.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# splitmix64 (Steele, Lea, Flood, OOPSLA 2014), in unsigned numbers that wrap
_STRIDE, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Model:
    """The graphs of a folder, each opened when it is first used."""

    def __init__(self, folder: str | Path, providers: Sequence[str] | None = None) -> None:
        """providers: of onnxruntime; None: those that it has, in its order."""
        self.folder, self.providers = Path(folder), providers
        self.about: dict[str, Any] = json.loads((self.folder / "model.json").read_text(encoding="utf-8"))
        self._sessions: dict[str, Any] = {}

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return what a graph gives, by name, of its inputs by name: those it lacks are passed over."""
        if graph not in self._sessions:
            import onnxruntime

            file = str(self.folder / self.about["graphs"][graph]["file"])
            providers = self.providers or onnxruntime.get_available_providers()
            self._sessions[graph] = onnxruntime.InferenceSession(file, providers=list(providers))
        session = self._sessions[graph]
        names = [one.name for one in session.get_outputs()]
        given = {one.name: inputs[one.name] for one in session.get_inputs()}
        return dict(zip(names, session.run(names, given), strict=True))

    def encode(self, images: Array) -> Array:
        """Return codes (b h w) of images (b c H W) in [-1, 1], sides being multiples of the factor."""
        return self.run("encoder", {"images": np.asarray(images, np.float32)})["codes"]

    def decode(self, codes: Array) -> Array:
        """Return images (b c H W), around [-1, 1] and not clipped, of codes (b h w)."""
        return self.run("decoder", {"codes": np.asarray(codes, np.int64)})["images"]

    def draw(
        self,
        prefix: Array,
        seeds: Sequence[int],
        filled: Array | None = None,
        guidance: float = 1.0,
        **choice: Any,
    ) -> Array:
        """Return codes (b h w) of new images, a row for each prefix and seed.

        prefix: tokens (b m), or features (b m f), of what the images are told; filled (b m): which places
        count, where the model's prefixes have unequal lengths. guidance: s in u + s (c - u), by the prefix
        `null` of model.json. choice: temperature, top_k, top_p, min_p, as `choose` takes them.
        """
        about, count = self.about["prior"], len(seeds)
        told = {"prefix": np.asarray(prefix)}
        told |= {} if filled is None else {"filled": np.asarray(filled, bool)}
        if guidance != 1:
            null = {name: np.asarray(value, told[name].dtype) for name, value in about["null"].items()}
            told = {name: np.concatenate((told[name], np.repeat(null[name], count, 0))) for name in told}
        rows, order = len(told["prefix"]), about["order"]
        found = np.zeros((count, len(order)), np.int64)
        state = {**told, **self.run("prefill", told)}
        for place, cell in enumerate(order):
            logits = state["logits"].reshape(rows, -1)
            if guidance != 1:
                said, null_said = logits[:count], logits[count:]
                logits = null_said + np.float32(guidance) * (said - null_said)
            found[:, cell] = choose(logits, keys(seeds, cell), **choice)
            if place + 1 < len(order):
                state = self.step(state, np.tile(found[:, cell, None], (rows // count, 1)), place)
        return found.reshape(count, *about["grid"])

    def step(self, state: Mapping[str, Array], codes: Array, place: int) -> dict[str, Array]:
        """Return the state after more codes (b n) at a place of the order and those that follow it.

        state: what "prefill" or the step before gave, with "filled" where the prefix has it. Its logits
        (b n v) are those of the code after each of these.
        """
        starts = np.full(len(codes), self.about["prior"]["prefix"]["length"] + place, np.int64)
        cache = {name.removeprefix("new_"): tensor for name, tensor in state.items()}
        return {**state, **self.run("step", {**cache, "codes": codes, "starts": starts})}

    def logits(self, codes: Array, prefix: Array, filled: Array | None = None) -> Array:
        """Return the logits (b n v) of all codes (b h w) of images, each given those before it."""
        told = {"prefix": np.asarray(prefix)} | ({} if filled is None else {"filled": filled})
        state = {**told, **self.run("prefill", told)}
        laid = codes.reshape(len(codes), -1)[:, self.about["prior"]["order"]]
        if laid.shape[1] == 1:
            return state["logits"][:, None]
        after = self.step(state, laid[:, :-1], 0)["logits"]
        return np.concatenate((state["logits"][:, None], after), 1)

    def recheck(self) -> dict[str, tuple[int, int]]:
        """Return how many come out equal here of what torch gave at the export, and of how many.

        By what is compared: codes of images; images drawn greedily, and by chance, equal in all their codes.
        """
        kept = np.load(self.folder / "check.npz")
        images = opened(kept["images"], kept["scale"], kept["shift"])
        found = np.concatenate([self.encode(images[i : i + 16]) for i in range(0, len(images), 16)])
        equal = {"codes": (int((found == kept["codes"]).sum()), found.size)}
        if "prefix" in kept:
            filled = kept.get("filled")
            for name, top_k in (("greedy", 1), ("drawn", None)):
                drawn = self.draw(kept["prefix"], kept["seeds"].tolist(), filled, top_k=top_k)
                equal[name] = (int((drawn == kept[name]).all((1, 2)).sum()), len(drawn))
        return equal


def opened(images: Array, scale: Any, shift: Any) -> Array:
    """Return images of bytes as the encoder takes them, float32."""
    return images.astype(np.float32) * np.float32(scale) + np.float32(shift)


def choose(
    logits: Array,
    keys: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Array:
    """Return one code a row of logits (b v): argmax of log p + Gumbel noise, which is a draw from p.

    The k best codes stay, of these the fewest that hold the share top_p, of these all of at least min_p of
    the best one's probability. top_k=1 is argmax, the lowest code of equal ones.
    """
    kept = logits.astype(np.float32) / np.float32(temperature)
    codes = np.argsort(-kept, axis=1, kind="stable")[:, :top_k]
    kept = np.take_along_axis(kept, codes, 1)
    if top_k == 1:
        return codes[:, 0]
    if top_p is not None and top_p < 1:
        shares = np.exp(kept - kept[:, :1])
        shares /= shares.sum(1, keepdims=True)
        kept = np.where(np.cumsum(shares, 1) - shares >= top_p, -np.inf, kept)
    if min_p:
        kept = np.where(kept < kept[:, :1] + np.float32(np.log(min_p)), -np.inf, kept)
    best = np.argmax(kept + gumbel(keys, codes), 1)
    return np.take_along_axis(codes, best[:, None], 1)[:, 0]


def keys(seeds: Sequence[int], cell: int) -> Array:
    """Return what the noise of a cell, by its row-major number, begins with in images of these seeds."""
    start = np.array([seed % 2**64 for seed in seeds], np.uint64)
    return _mix(_mix(start + np.uint64(_STRIDE)) + np.uint64(cell * _STRIDE % 2**64))


def gumbel(keys: Array, codes: Array) -> Array:
    """Return standard Gumbel numbers (b k), one for each row's key and code (b k)."""
    bits = _mix(codes.astype(np.uint64) * np.uint64(_STRIDE) + keys[:, None]) >> np.uint64(12)
    uniform = (bits.astype(np.float64) + 0.5) * 2.0**-52
    return (-np.log(-np.log(uniform))).astype(np.float32)


def _mix(bits: Array) -> Array:
    for places, factor in ((30, _FIRST), (27, _SECOND)):
        bits = (bits ^ (bits >> np.uint64(places))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(31))


if __name__ == "__main__":
    for what, (equal, of) in Model(Path(__file__).parent, sys.argv[1:] or None).recheck().items():
        sys.stdout.write(f"{what}: {equal} of {of} equal to torch\n")
