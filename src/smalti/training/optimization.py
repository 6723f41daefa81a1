"""One optimizer step for every network: precision, gradients, clipping, AdamW."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW

from smalti import strategy
from smalti.precision import DTYPES
from smalti.training import checkpoints, schedule
from smalti.training.settings import OptimizerSettings, Training

DECAYED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a step."""

    norms: Mapping[str, Float[Tensor, ""]]  # of each network's gradient, before clipping
    wrong: Sequence[str]  # losses and gradients that are not finite, by name
    moved: bool  # False: the step was skipped


class Optimizers:
    """An AdamW for each network that is trained, its schedule, clipping, and the scale of fp16 gradients."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        rates: Mapping[str, OptimizerSettings],
        training: Training,
        device: torch.device,
    ) -> None:
        self.networks, self.settings, self.training, self.device = networks, rates, training, device
        parameters = [p for network in networks.values() for p in network.parameters() if p.requires_grad]
        # of each weight what this process holds: optimizers know of nothing else
        self._held = {parameter: _held(parameter) for parameter in parameters}
        self.optimizers = {
            name: build(network, rates[name], self._held) for name, network in networks.items()
        }
        self.scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")
        self.share = (
            1.0  # of the rates that the settings say: half of them after each return from wrong numbers
        )

    def autocast(self) -> torch.autocast:
        """Return the context in which a task computes its losses."""
        precision = self.training.precision
        assert precision != "auto", "settled before a run begins"
        half = None if precision == "fp32" else DTYPES[precision]
        return torch.autocast(self.device.type, dtype=half, enabled=half is not None)

    def backward(self, losses: Mapping[str, Float[Tensor, ""]], share: float) -> None:
        """Add the gradients of a part of a batch, weighted with the part's share of the batch.

        No weight has a part in two losses, so that one pass serves all.
        """
        total = torch.stack([*losses.values()]).sum() * share
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]

    def step(self, losses: Mapping[str, Float[Tensor, ""]], step: int) -> Outcome:
        """Clip and step the networks that have a loss, and clear all gradients.

        losses: of the whole batch, the same in all processes. Nothing moves where a loss or a gradient is
        not finite. Waits for the device once.
        """
        way = strategy.current()
        way.finish_gradients(self.networks[name] for name in losses)
        for parameter, held in self._held.items():
            if held is not parameter:
                held.grad = None if parameter.grad is None else way.held(parameter.grad)
        outcome = self._outcome(losses)
        if outcome.moved:
            for name in losses:
                for group in self.optimizers[name].param_groups:
                    group["lr"] = self.rate(name, step)
                self.optimizers[name].step()
        self.scaler.update()
        for parameter, held in self._held.items():
            parameter.grad = held.grad = None
        return outcome

    def rate(self, name: str, step: int) -> float:
        """Return the learning rate of a network at a step."""
        settings = self.settings[name]
        return self.share * settings.lr * schedule.share(step, self.training.steps, settings)

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments that this process has of all optimizers, by path, for a checkpoint."""
        flat = {name: checkpoints.flatten(optimizer) for name, optimizer in self.optimizers.items()}
        return {f"{name}/{path}": tensor for name, of in flat.items() for path, tensor in of.items()}

    def rows(self) -> dict[str, strategy.Rows]:
        """Return by the same paths which rows those are, of moments of which it has some."""
        whole = {held: parameter for parameter, held in self._held.items()}
        found: dict[str, strategy.Rows] = {}
        for name, optimizer in self.optimizers.items():
            held = [one for group in optimizer.param_groups for one in group["params"]]
            for path, tensor in checkpoints.flatten(optimizer).items():
                own = held[int(path.partition("/")[0])]
                rows = strategy.current().rows(whole[own]) if tensor.shape == own.shape else None
                found |= {f"{name}/{path}": rows} if rows is not None else {}
        return found

    def numbers(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside tensors: the scale of fp16 gradients."""
        return self.scaler.state_dict()

    def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Go on from a checkpoint."""
        whole = {held: parameter for parameter, held in self._held.items()}
        for name, optimizer in self.optimizers.items():
            checkpoints.restore(optimizer, checkpoint.below(f"optimizer/{name}"), whole)
        self.scaler.load_state_dict(checkpoint.numbers["scaler"])

    def _outcome(self, losses: Mapping[str, Tensor]) -> Outcome:
        for name in losses:
            self.scaler.unscale_(self.optimizers[name])
        norms = {name: strategy.current().clip(self.networks[name], self.training.clip) for name in losses}
        values = torch.stack([*losses.values(), *norms.values()]).tolist()
        names = [f"{what}/{name}" for what in ("loss", "gradient") for name in losses]
        wrong = [name for name, value in zip(names, values, strict=True) if not math.isfinite(value)]
        # a gradient too large for fp16 is how the scale is found: skipped, and nothing to complain of
        reported = [name for name in wrong if name.startswith("loss/") or not self.scaler.is_enabled()]
        return Outcome(norms=norms, wrong=reported, moved=not wrong)


def _held(parameter: nn.Parameter) -> Tensor:
    """Return what this process holds of a weight: itself, or a tensor of its own on the same memory."""
    if strategy.current().rows(parameter) is None:
        return parameter
    return strategy.current().held(parameter.detach()).requires_grad_()


def build(
    network: nn.Module, settings: OptimizerSettings, held: Mapping[nn.Parameter, Tensor] | None = None
) -> AdamW:
    """Return an AdamW (arXiv:1711.05101) that decays the weights of linear and convolutional layers only.

    held: see Optimizers; None: each weight itself.
    """
    modules = [module for module in network.modules() if isinstance(module, DECAYED)]
    decayed = {id(module.weight) for module in modules}
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    own = {parameter: parameter for parameter in parameters} if held is None else held
    groups = [
        {"params": [own[p] for p in parameters if id(p) in decayed], "weight_decay": settings.weight_decay},
        {"params": [own[p] for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)
