"""`Activation`: a formula as a torch module.

    act = Activation("relu(x) + eps*x*exp(-x**2/2)", params={"eps": Param(0.01, learn=True)})
    act = Activation("crrelu"), CRReLU(eps=0.05), MRePU(p=2)

Learnable parameters (`Param(..., learn=True)`) are `nn.Parameter`s under their own names; the others are constants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import FormulaLike, get_activation, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.nn.family import compute_dtype, family
from actsmith.nn.jet_tensor import Jet
from actsmith.nn.leaf import recorded
from actsmith.nn.private import parameters_of

__all__ = ["Activation", "CRReLU", "MRePU", "RePU"]

Share = Literal["layer", "channel", "model"]


class Activation(nn.Module):
    """f(x) elementwise, with the formula's own exact derivatives to any order.

    Dtype, device and memory format of the input are kept; float16 and bfloat16 are computed in float32 inside. Autograd
    keeps the input and the parameters, nothing else. Works with double backward, forward-mode differentiation,
    `torch.func`, `torch.compile` and `torch.export`; what `torch.jit.trace` makes runs and trains, but `torch.jit.save`
    refuses it, since its derivatives are Python: save an exported program.

    All orders of derivatives are exact but in graphs that hold plain operations alone: an exported program, and
    `torch.func` inside `torch.compile`. There the first and second are, and where plain operations of the formula have
    wrong derivatives (ELU, for one: `actsmith.nn.inlined`), the third and higher ones are 0. Take these outside.

    ReLU, tanh and hard swish have torch's own values, bit for bit (`actsmith.nn.native`).

    Where x^2 overflows (|x| > 1.8e19 in float32, float16's whole range is safe), formulas with exp(-x^2) or a root of
    1 + x^2 can be NaN, their gradients above all.

    Learnable parameters are of torch's default dtype where that is float32 or float64, else float32. Each is a vector,
    also where it is one number: FSDP shards no scalars. State dictionaries with scalars (of earlier versions) load.

    `torch.fx.symbolic_trace` and what is built on it see one call of this module, as of torch's own activations.

    A learnable parameter with a range (`Param.low`, `Param.high`) is used clamped to it; its gradient passes through
    the clamp, so training can bring it back inside.

    Args:
        formula: a Formula, a catalogue name, or formula text.
        share: one set of learnable parameters for the "layer" (shape (1,)), for each "channel" (shape (C,)), or for
            the whole "model": there, `like` makes every further module, and all hold the same `nn.Parameter`s. Tied so,
            they stay tied through `copy.deepcopy` and `pickle` of the model that holds them, count once in
            `model.parameters()`, and appear under each module's name in `state_dict`, as tied weights do in torch.
        channels: C, for share="channel".
        channel_dim: the channels' dimension of the input: 1 for (N, C, ...), -1 for (..., C).
        params: values of the formula's parameters, in the place of those that it has; formula text needs them all.
        inplace: taken, since libraries pass it to every activation, and not followed: no input is written into.
        device, dtype: of the learnable parameters.

    Raises:
        FormulaError: no such formula, or a value for a parameter that it does not have.
        ActsmithError: an unknown `share`, channels missing or not wanted, a learnable parameter with a name that torch
            modules use; in the forward pass, an input that is not floating point or has other channels.

    Example:
        >>> act = Activation("crrelu")
        >>> act(torch.tensor([-1.0, 0.0, 2.0]))
        tensor([-0.0061,  0.0000,  2.0027], grad_fn=<...>)
        >>> list(act.state_dict())
        ['eps']
    """

    def __init__(
        self,
        formula: FormulaLike,
        share: Share | bool = "layer",
        channels: int | None = None,
        channel_dim: int = 1,
        params: Mapping[str, float | Param] | None = None,
        *,
        inplace: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._family = family(resolve(formula, **(params or {})))
        self.share: Share = "layer" if isinstance(share, bool) else share  # `inplace` by position, as timm's VGG has it
        self.channels = channels
        self.channel_dim = channel_dim
        shape = _parameter_shape(self.share, channels)
        for name in self._family.learnable:
            if hasattr(self, name):
                raise ActsmithError(
                    f"activation: a learnable parameter cannot be named {name!r} in a module; rename it"
                )
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=_wide(dtype))))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the learnable parameters to the values that the formula started with."""
        for name in self._family.learnable:
            nn.init.constant_(self._parameter(name), self._family.formula.params[name].value)

    @property
    def initial(self) -> Formula:
        """The formula with the values that its parameters started with."""
        return self._family.formula

    @property
    def formula(self) -> Formula:
        """The formula with the parameters' present values (inside their ranges, in the fewest decimals that name them).

        On meta, where there are no values, it is the formula that the module started with. Of a sharded parameter the
        value is gathered, so that all processes must ask.

        Raises:
            ActsmithError: share="channel", where every channel has a formula of its own.
        """
        start = self._family.formula
        if self.share == "channel" and self._family.learnable:
            raise ActsmithError(
                f"activation: {self.channels} channels have a formula each; read {', '.join(self._family.learnable)}"
            )
        params = dict(start.params)
        for name in self._family.learnable:
            p, own = params[name], self._parameter(name)
            if not own.is_meta:
                params[name] = replace(p, value=min(max(_decimal(own), p.low), p.high))
        return start if params == start.params else Formula(start.expr, params, start.name)

    def like(self) -> Self:
        """Another module with this one's formula: with these very parameters for share="model", else with new ones."""
        other = self.__class__.__new__(self.__class__)
        Activation.__init__(other, self._family.formula, self.share, self.channels, self.channel_dim)
        for name in self._family.learnable if self.share == "model" else ():
            setattr(other, name, self._parameter(name))
        return other.train(self.training)

    def forward(self, input: Any, inplace: bool = False) -> Any:
        """f(input): shape, dtype and device of the input, which `inplace` does not change."""
        x = input
        if isinstance(x, Jet):
            return self._family.of_jet(x, [self._value(name, x) for name in self._family.learnable])
        if not isinstance(x, Tensor) or not x.is_floating_point():
            if (proxy := recorded(self, x)) is not None:
                return proxy
            got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise ActsmithError(f"activation {self._family.formula.name}: got {got}; expected a floating-point tensor")
        return self._family(x, [self._value(name, x) for name in self._family.learnable])

    def _parameter(self, name: str) -> Tensor:
        parameter: Tensor = getattr(self, name)  # under functional_call a plain tensor, which get_parameter refuses
        return parameter

    def _value(self, name: str, x: Tensor | Jet) -> Tensor:
        """The parameter as it enters: inside its range, shaped to broadcast along the channels."""
        found = parameters_of(self).get(name)  # faster than the attribute, which a parametrization makes of it
        theta: Tensor = self._parameter(name) if found is None else found
        if name in self._family.ranges:
            low, high = self._family.ranges[name]
            theta = theta + (theta.clamp(low, high) - theta).detach()
        if self.share != "channel":
            return theta if x.ndim else theta.reshape(())
        dim = self.channel_dim
        if not -x.ndim <= dim < x.ndim or x.shape[dim] != self.channels:
            raise ActsmithError(
                f"activation {self._family.formula.name}: got shape {tuple(x.shape)}; "
                f"expected {self.channels} channels in dimension {dim}"
            )
        return theta.reshape(theta.shape[0], *[1] * (x.ndim - 1 - dim % x.ndim))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self._family.learnable:
            found = state_dict.get(prefix + name)
            if isinstance(found, Tensor) and found.ndim == 0 and self._parameter(name).shape == (1,):
                state_dict[prefix + name] = found.reshape(1)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        formula = self._family.formula
        learnable = [_printed(n, self._parameter(n)) for n in self._family.learnable]
        fixed = [f"{n}={p.value:g}" for n, p in formula.params.items() if not p.learn]
        parts = [formula.text, *fixed, *(f"{n} (learned)" for n in learnable)]
        if learnable and self.share != "layer":
            parts.append(f"share={self.share}" + (f", channels={self.channels}" if self.channels else ""))
        return ", ".join(parts)


class CRReLU(Activation):
    """max(0, x) + eps x exp(-x^2/2), eps learnable. Sun et al., arXiv:2405.12954.

    >>> CRReLU(eps=0.05).formula.params["eps"].value
    0.05
    """

    def __init__(self, eps: float = 0.01, inplace: bool = False, **options: Any) -> None:
        super().__init__(get_activation("crrelu", **_given(eps=eps)), inplace=inplace, **options)


class RePU(Activation):
    """max(0, x)^p. Kim, Kang, arXiv:2408.02697."""

    def __init__(self, p: float = 2, inplace: bool = False, **options: Any) -> None:
        super().__init__(get_activation("repu", **_given(p=p)), inplace=inplace, **options)


class MRePU(Activation):
    """x max(0, 1 + x)^p. Kim, Kang, arXiv:2408.02697."""

    def __init__(self, p: float = 2, inplace: bool = False, **options: Any) -> None:
        super().__init__(get_activation("mrepu", **_given(p=p)), inplace=inplace, **options)


def _given(**params: float) -> dict[str, float]:
    """The parameters but for a truth value, which is `inplace` where a library gives it by position (timm's VGG)."""
    return {name: value for name, value in params.items() if not isinstance(value, bool)}


def _parameter_shape(share: str, channels: int | None) -> tuple[int, ...]:
    if share not in ("layer", "channel", "model"):
        raise ActsmithError(f"activation: got share={share!r}; expected 'layer', 'channel' or 'model'")
    if share == "channel":
        if channels is None or channels < 1:
            raise ActsmithError(f"activation: share='channel' needs channels, the number of them; got {channels}")
        return (channels,)
    if channels is not None:
        raise ActsmithError(f"activation: channels={channels} goes with share='channel', got share={share!r}")
    return (1,)


def _wide(dtype: torch.dtype | None) -> torch.dtype:
    dtype = dtype or torch.get_default_dtype()
    return torch.float32 if dtype.itemsize < 4 else dtype


def _printed(name: str, parameter: Tensor) -> str:
    """The name, and of one number the value: "?" where there is none (meta), or not in this process (sharded)."""
    if parameter.numel() != 1:
        return name
    known = not parameter.is_meta and not hasattr(parameter, "full_tensor")
    return f"{name}={format(_decimal(parameter), 'g') if known else '?'}"


def _decimal(parameter: Tensor) -> float:
    """The value as the shortest decimal that its dtype tells apart: 0.01, not 0.009999999776482582."""
    whole: Tensor = getattr(parameter, "full_tensor", lambda: parameter)()
    value = whole.detach().to(compute_dtype(whole)).cpu().numpy()
    return float(str(np.asarray(value).reshape(())[()]))
