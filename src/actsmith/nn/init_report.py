"""What `critical_init_` did, layer by layer, and what it asks of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from actsmith.nn.start import Start

__all__ = ["InitReport", "LayerInit"]


@dataclass(frozen=True)
class LayerInit:
    """What was done to one layer.

    Attributes:
        path: the layer's name in the model.
        activation: name of the activation that it is critical for, of the readout the one before it; None where there
            is none.
        C_W: fan_in times the variance of a weight; None where the layer was left alone.
        C_b: the variance of a bias; None where the layer was left alone or has none.
        fan_in: how many inputs one output sums; 0 where that is not known, or differs from place to place.
        drawn: whether the layer was drawn anew.
        note: how, or why not.
    """

    path: str
    activation: str | None
    C_W: float | None
    C_b: float | None
    fan_in: int
    drawn: bool
    note: str


@dataclass(frozen=True)
class InitReport:
    """One `LayerInit` per Linear, Conv and ConvTranspose layer, in the model's order; prints as a table.

    Attributes:
        layers: what was done to each.
        found_by: "traced" (torch.fx), "watched" (one forward pass) or "given" (the caller named the activation).
        start: of the first activation in this model, with the K0 and the readout that were used; None where no input
            scale is asked for, because a normalisation sets it or the point was given.
        first: path of the layer whose inputs it is about.
        square: the mean square of these inputs: given, measured on the example, or 1.
        in_weights: whether the input scale is in the weights of `first` already.
        middle, scales: of the coordinates of a domain, what the first layer takes from each, and by what it multiplies
            each then; empty where it does not read them as they are.
        explodes: path of the layer where the kernel passes 1000; "" where it does not.
    """

    layers: tuple[LayerInit, ...]
    found_by: str
    start: Start | None = None
    first: str = ""
    square: float = 1.0
    in_weights: bool = False
    explodes: str = ""
    middle: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()

    @property
    def K0(self) -> float | None:
        """The variance of the first pre-activation."""
        return None if self.start is None else self.start.K0

    @property
    def input_scale(self) -> float | None:
        """What the inputs are to be multiplied by: 1 where the weights do that; None where nothing is asked of them."""
        if self.start is None:
            return None
        return 1.0 if self.in_weights else self.start.input_scale(self.square)

    @property
    def verdict(self) -> str:
        """What holds, and what the inputs are multiplied by, in a sentence or two; "" where nothing is asked."""
        if self.start is None:
            return ""
        layer, scale = f"layer '{self.first}'", self.start.input_scale(self.square)
        goal = f"its pre-activation has the variance K0 = {self.start.K0:.4g}"
        if self.scales:
            scales, middle = (", ".join(f"{v:.4g}" for v in values) for values in (self.scales, self.middle))
            say = (
                f"The weights of {layer} hold scales for coordinates of mean square {self.square:.4g}, {scales}, its "
                f"biases their middles, {middle}: over the domain {goal}."
            )
        elif self.in_weights:
            say = (
                f"The weights of {layer} hold a scale for inputs of mean square {self.square:.4g}, {scale:.4g}: {goal}."
            )
        else:
            unit = self.start.input_scale()
            say = (
                f"Multiply the inputs of {layer} by {scale:.4g} (mean square {self.square:.4g}; of mean square s by "
                f"{unit:.4g}/sqrt(s)): {goal}."
            )
        if self.explodes:
            say += f" The kernel passes 1000 in layer '{self.explodes}': normalise, stay shallow, or take a smaller K0."
        name = next((r.activation for r in self.layers if r.path == self.first), None)
        return f"{name}: {self.start.holds} {say}"

    def __iter__(self) -> Iterator[LayerInit]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> LayerInit:
        return self.layers[index]

    def __str__(self) -> str:
        rows = [["layer", "activation", "C_W", "C_b", "fan-in", ""]]
        for r in self.layers:
            numbers = ["-" if v is None else f"{v:.5g}" for v in (r.C_W, r.C_b)]
            rows.append([r.path or "(itself)", r.activation or "-", *numbers, str(r.fan_in), r.note])
        widths = [*(max(len(row[i]) for row in rows) for i in range(5)), 0]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, self.verdict] if self.verdict else lines)
