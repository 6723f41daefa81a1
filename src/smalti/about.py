"""What a model is, in words: the lines of `smalti info`, and the model card in its folder."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import nn

from smalti import config
from smalti.pipeline import Pipeline, tokenizer_of
from smalti.sizes import worded
from smalti.tokenizer import Tokenizer

_SHOWN = 20  # classes whose names are written out


def lines(model: Tokenizer | Pipeline, made: Mapping[str, Any]) -> list[str]:
    """Give a line for each thing worth knowing. made: the provenance that its folder tells."""
    tokenizer = tokenizer_of(model)
    found = [f"tokenizer: {_told(tokenizer)}"]
    if isinstance(model, Pipeline):
        crops = "crop" if len(model.crop_sizes) == 1 else "crops"
        kind, condition = model.settings.prior.kind, model.settings.condition
        found.append(
            f"prior: {kind}, {_millions(model.prior)} M parameters, {crops} {worded(model.crop_sizes)} pixels"
        )
        names = getattr(condition, "names", ())
        more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
        kinds = " and ".join(model.condition.named) or condition.kind
        told = "; ".join(filter(None, [", ".join(names[:_SHOWN]) + more, model.condition.told()]))
        found.append(f"condition: {kinds}{': ' * bool(told)}{told}")
        computed = [one.compute.settings for one in model.condition.named.values() if one.compute is not None]
        found += [f"maps computed of images: {config.dump(one)}" for one in computed]
        owned = (model.condition.own, *model.condition.parts.values())
        found += [f"tokenizer of maps: {_told(own)}" for own in owned if isinstance(own, Tokenizer)]
    return [*found, *(f"{name}: {value}" for name, value in made.items())]


class Outline(NamedTuple):
    """A model folder without its weights."""

    folder: Path
    config: Mapping[str, Any]  # its config.json
    model: Tokenizer | Pipeline

    @property
    def words(self) -> str:
        """Return a few lines on what it is, for people."""
        head = f"{self.folder}: {self.config['kind']} {self.config['fingerprint']}"
        return "\n".join([head, *lines(self.model, self.config.get("provenance", {}))])

    @property
    def facts(self) -> dict[str, Any]:
        """Return the same as plain values, with all settings."""
        model, tokenizer = self.model, tokenizer_of(self.model)
        found = {"path": self.folder, "kind": self.config["kind"], "fingerprint": self.config["fingerprint"]}
        found["tokenizer"] = {
            "factor": tokenizer.factor,
            "codes": tokenizer.codebook_size if tokenizer.has_codes else None,
            "channels": tokenizer.channels,
            "parameters": _count(tokenizer),
        }
        if isinstance(model, Pipeline):
            kind, sizes = model.settings.prior.kind, [list(size) for size in model.crop_sizes]
            found["prior"] = {"kind": kind, "parameters": _count(model.prior), "sizes": sizes}
            found["conditions"] = {
                name: {"kind": one.settings.kind, "names": list(getattr(one.settings, "names", ()))}
                for name, one in model.condition.named.items()
            }
        made = dict(self.config.get("provenance", {}))
        return {**found, "settings": config.dump(model.settings), "provenance": made}


def provenance(folder: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model folder says of its making, and its run's newest figures.

    The data of an older one are in its run's settings alone.
    """
    found, run = dict(metadata.get("provenance", {})), folder.parent / "settings.yaml"
    if folder.name != "model" or not run.is_file():
        return found
    if "data" not in found:
        found |= {name: value for name, value in config.load_yaml(run).items() if name == "data"}
    return found | _measured(run.with_name("log.jsonl"), found.get("steps"))


def card(model: Tokenizer | Pipeline, made: Mapping[str, Any], name: str) -> str:
    """Give a model card in Markdown: what the model is, how it is used, settings, data, figures, licence.

    made: as in `lines`; its "metrics" are a table of their own. name: that of the folder.
    """
    metrics = dict(made.get("metrics", {}))
    what = "Draws images" if isinstance(model, Pipeline) else "Turns images into codes and back"
    told = lines(model, {key: value for key, value in made.items() if key not in ("metrics", "data")})
    rows = [(key, f"{one:.4g}" if isinstance(one, float) else str(one)) for key, one in metrics.items()]
    return "\n".join(
        [
            "---\nlibrary_name: smalti\nlicense: unknown\n---",
            f"# {made.get('run', name)}\n\n{what}. A model folder of smalti, without code of its own.\n",
            *(f"- {line}" for line in told),
            f"\n## Use\n\n```python\n{_example(model, name)}```\n",
            f"## Data\n\n{_block(made['data']) if made.get('data') else 'not stated'}\n",
            "## Figures\n",
            markdown(("number", "value"), rows) if metrics else "not measured\n",
            f"## Settings\n\n{_block(config.dump(model.settings))}\n",
            "## Licence\n\nNot stated. Write here, and as `license:` above, under which terms the weights may"
            " be used; the images they were trained on may bind them.\n",
        ]
    )


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown, a line a row."""
    columns = list(columns)
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, ["---"] * len(columns), *rows))


def _measured(log: Path, steps: Any) -> dict[str, Any]:
    """Return the newest validation up to a step, from the log of a run."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    found = [json.loads(line) for line in lines if '"kind": "validation"' in line and line.endswith("}")]
    found = [line for line in found if steps is None or line["step"] <= steps]
    return {"metrics": {name: found[-1][name] for name in found[-1] if name != "kind"}} if found else {}


def _block(values: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(values, default=str))
    return f"```yaml\n{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)}```"


def _example(model: Tokenizer | Pipeline, name: str) -> str:
    if not isinstance(model, Pipeline):
        code = f"tok = smalti.Tokenizer.from_pretrained({name!r})  # the path of this folder\n"
        if not model.has_codes:
            return f'import smalti\n\n{code}smalti.save_all(tok.reconstruct("photo.png"), "rebuilt")\n'
        code += f'codes = tok.encode("photo.png")  # sides that are multiples of {model.factor}\n'
        return f'import smalti\n\n{code}smalti.save_all(tok.decode(codes), "rebuilt")\n'
    given = [_given(one) for one in model.condition.named.values()]
    told = ", ".join(filter(None, ["num=4", *given, "seed=0"]))
    code = f"pipe = smalti.Pipeline.from_pretrained({name!r})  # the path of this folder\n"
    return f'import smalti\n\n{code}out = pipe.sample({told})\nsmalti.grid(out).save("samples.png")\n'


def _given(condition: Any) -> str:
    """Return how a caller writes a condition, of the first class where it has some."""
    settings = condition.settings
    classes = getattr(settings, "names", ()) or tuple(range(getattr(settings, "classes", 0)))
    return str(condition.example.format(*classes[:1]))


def _told(tokenizer: Tokenizer) -> str:
    codes = f"factor {tokenizer.factor}, {tokenizer.codebook_size if tokenizer.has_codes else 'no'} codes"
    settings, told = tokenizer.settings, [codes, f"{tokenizer.channels} channels"]
    if settings.pixels:
        told += [
            f"{name} {value}" for name, value in config.dump(settings.pixels).items() if value is not None
        ]
    told += [f"{_millions(tokenizer)} M parameters", f"quantizer {settings.quantizer.told()}"]
    if settings.labels:
        told.append(f"values of label maps: {settings.labels.told()}")
    return ", ".join(told)


def _millions(module: nn.Module) -> str:
    return f"{_count(module) / 1e6:.2f}"


def _count(module: nn.Module) -> int:
    """Return how many numbers its parameters are."""
    return sum(parameter.numel() for parameter in module.parameters())
