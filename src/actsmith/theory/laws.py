"""The law of the pre-activation: the named laws, their mixtures, and laws given as text.

| symbol | meaning                          |
|--------|----------------------------------|
| X ~ p  | the pre-activation and its law   |
| m, s   | location and scale               |
| z      | (x - m)/s                        |
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import MISSING, dataclass, fields
from math import e, isfinite, log, pi, sqrt
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from actsmith.errors import LawError
from actsmith.names import did_you_mean
from actsmith.theory.empirical import Empirical
from actsmith.theory.histogram import Histogram
from actsmith.theory.law import Array, Law, at_probabilities, decimal_text, exact, generator, require_number
from actsmith.theory.lognormal import LogNormal
from actsmith.theory.mixture import Mixture

__all__ = [
    "Empirical",
    "Histogram",
    "Laplace",
    "Law",
    "LogNormal",
    "Logistic",
    "Mixture",
    "Normal",
    "StudentT",
    "Uniform",
    "law_from_dict",
    "parse_law",
    "resolve_law",
]


class Symmetric(Law):
    """A law of z = (x - m)/s that is even in z: a member gives its standard form."""

    @property
    @abstractmethod
    def _place(self) -> tuple[float, float]: ...
    @abstractmethod
    def _logpdf(self, z: Array) -> Array: ...
    @abstractmethod
    def _score(self, z: Array) -> Array: ...
    @abstractmethod
    def _cdf(self, z: Array) -> Array: ...
    @abstractmethod
    def _quantile(self, u: Array) -> Array: ...
    @abstractmethod
    def _draw(self, rng: np.random.Generator, n: int) -> Array: ...

    # cut/s: exp(-40^2/2) underflows; a member with heavier tails says otherwise.
    _reach = 40.0

    def _z(self, x: ArrayLike) -> Array:
        m, s = self._place
        z: Array = (np.asarray(x, dtype=np.float64) - m) / s
        return z

    def logpdf(self, x: ArrayLike) -> Array:
        return self._logpdf(self._z(x)) - log(self._place[1])

    def score(self, x: ArrayLike) -> Array:
        return self._score(self._z(x)) / self._place[1]

    def cdf(self, x: ArrayLike) -> Array:
        return self._cdf(self._z(x))

    def survival(self, x: ArrayLike) -> Array:
        return self._cdf(-self._z(x))

    def quantile(self, u: ArrayLike) -> Array:
        m, s = self._place
        return at_probabilities(u, self.support, lambda p: m + s * self._quantile(p))

    def sample(self, n: int, seed: int) -> Array:
        m, s = self._place
        return m + s * self._draw(generator(n, seed), n)

    @property
    def breakpoints(self) -> tuple[float, ...]:
        return (self._place[0],)

    @property
    def cut(self) -> float:
        return self._reach * self._place[1]

    @property
    def spec(self) -> str:
        return f"{self.name}({','.join(decimal_text(getattr(self, f.name)) for f in fields(cast(Any, self)))})"


@dataclass(frozen=True)
class Normal(Symmetric):
    """The normal law, p(x) = exp(-z^2/2)/(s sqrt(2 pi)), s = std > 0.

    Example:
        >>> Normal(0, 2).spec
        'normal(0,2)'
    """

    mean: float = 0.0
    std: float = 1.0
    name = "normal"

    def __post_init__(self) -> None:
        require_number(self, "mean")
        require_number(self, "std", positive=True)

    @property
    def _place(self) -> tuple[float, float]:
        return self.mean, self.std

    def _logpdf(self, z: Array) -> Array:
        return np.asarray(-(z**2) / 2 - log(sqrt(2 * pi)))

    def _score(self, z: Array) -> Array:
        return -z

    def _cdf(self, z: Array) -> Array:
        return np.asarray(special.ndtr(z))

    def _quantile(self, u: Array) -> Array:
        return np.asarray(special.ndtri(u))

    def _draw(self, rng: np.random.Generator, n: int) -> Array:
        return rng.standard_normal(n)

    def _closed_entropy(self) -> float:
        return log(2 * pi * e) / 2 + log(self.std)

    def density(self, x: Any) -> Any:
        import sympy

        m, s = exact(self.mean), exact(self.std)
        return sympy.exp(-(((x - m) / s) ** 2) / 2) / (s * sympy.sqrt(2 * sympy.pi))


@dataclass(frozen=True)
class Logistic(Symmetric):
    """The logistic law, p(x) = sech(z/2)^2/(4 s), s = scale > 0; its cdf is the sigmoid, std = pi s/sqrt(3)."""

    mean: float = 0.0
    scale: float = 1.0
    name = "logistic"
    _reach = 800.0

    def __post_init__(self) -> None:
        require_number(self, "mean")
        require_number(self, "scale", positive=True)

    @classmethod
    def sech2(cls, mean: float = 0.0, scale: float = 1.0) -> Logistic:
        """The law p(x) = sech((x - mean)/scale)^2/(2 scale) with cdf (1 + tanh((x - mean)/scale))/2: s = scale/2."""
        return cls(mean, scale / 2)

    @property
    def std(self) -> float:
        return pi / sqrt(3) * self.scale

    @property
    def _place(self) -> tuple[float, float]:
        return self.mean, self.scale

    def _logpdf(self, z: Array) -> Array:
        return np.asarray(-np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z))))

    def _score(self, z: Array) -> Array:
        return -np.tanh(z / 2)

    def _cdf(self, z: Array) -> Array:
        return np.asarray(special.expit(z))

    def _quantile(self, u: Array) -> Array:
        return np.asarray(special.logit(u))

    def _draw(self, rng: np.random.Generator, n: int) -> Array:
        return rng.logistic(size=n)

    def _closed_entropy(self) -> float:
        return 2 + log(self.scale)

    def density(self, x: Any) -> Any:
        import sympy

        m, s = exact(self.mean), exact(self.scale)
        return 1 / (4 * s * sympy.cosh((x - m) / (2 * s)) ** 2)


@dataclass(frozen=True)
class Laplace(Symmetric):
    """The Laplace law, p(x) = exp(-|z|)/(2 s), s = scale > 0, std = sqrt(2) s; the density has a kink at its mean.

    The score there is 0, the mean of its two sides.
    """

    mean: float = 0.0
    scale: float = 1.0
    name = "laplace"
    _reach = 800.0

    def __post_init__(self) -> None:
        require_number(self, "mean")
        require_number(self, "scale", positive=True)

    @property
    def std(self) -> float:
        return sqrt(2) * self.scale

    @property
    def _place(self) -> tuple[float, float]:
        return self.mean, self.scale

    def _logpdf(self, z: Array) -> Array:
        return -np.abs(z) - log(2)

    def _score(self, z: Array) -> Array:
        return -np.sign(z)

    def _cdf(self, z: Array) -> Array:
        tail = np.exp(-np.abs(z)) / 2
        return np.where(z < 0, tail, 1 - tail)

    def _quantile(self, u: Array) -> Array:
        return np.where(u < 0.5, np.log(2 * u), -np.log(2 * (1 - u)))

    def _draw(self, rng: np.random.Generator, n: int) -> Array:
        return rng.laplace(size=n)

    def _closed_entropy(self) -> float:
        return 1 + log(2 * self.scale)

    def density(self, x: Any) -> Any:
        import sympy

        m, s = exact(self.mean), exact(self.scale)
        return sympy.exp(-sympy.Abs(x - m) / s) / (2 * s)


@dataclass(frozen=True)
class StudentT(Symmetric):
    """Student's t law, p(x) = (1 + z^2/df)^(-(df + 1)/2)/(s sqrt(df) B(1/2, df/2)), df > 0, s = scale > 0.

    `mean` is the centre; for df <= 1 there is no mean and std is nan; for 1 < df <= 2 std is inf, above that it is
    s sqrt(df/(df - 2)).
    """

    df: float
    mean: float = 0.0
    scale: float = 1.0
    name = "student"
    # A moment of order k < df falls like x^(k - df) beyond x: 1e40 leaves 1e-20 of it where df - k >= 1/2.
    _reach = 1e40

    def __post_init__(self) -> None:
        require_number(self, "df", positive=True)
        require_number(self, "mean")
        require_number(self, "scale", positive=True)

    @property
    def std(self) -> float:
        if self.df <= 2:
            return np.inf if self.df > 1 else np.nan
        return self.scale * sqrt(self.df / (self.df - 2))

    @property
    def _place(self) -> tuple[float, float]:
        return self.mean, self.scale

    def _logpdf(self, z: Array) -> Array:
        r = np.abs(z) / sqrt(self.df)
        # log(1 + r^2) without the overflow of r^2
        growth = np.where(r < 1e8, np.log1p(np.minimum(r, 1e8) ** 2), 2 * np.log(np.maximum(r, 1.0)))
        constant = _log_beta(self.df / 2) + log(self.df) / 2
        return np.asarray(-(self.df + 1) / 2 * growth - constant)

    def _score(self, z: Array) -> Array:
        r = z / sqrt(self.df)
        with np.errstate(divide="ignore", over="ignore"):
            # r/(1 + r^2) without the overflow of r^2
            return np.asarray(-(self.df + 1) / sqrt(self.df) / (1 / r + r))

    @property
    def _far(self) -> float:
        """P(Z > z) = exp(c) z^-df to 1e-18 relative beyond this z, where SciPy's functions lose their way."""
        return 1e9 * max(self.df, 1.0)

    @property
    def _tail_constant(self) -> float:
        """c."""
        return (self.df / 2 - 1) * log(self.df) - _log_beta(self.df / 2)

    def _cdf(self, z: Array) -> Array:
        with np.errstate(divide="ignore", over="ignore"):
            far = np.exp(self._tail_constant - self.df * np.log(np.abs(z)))
        centre = special.stdtr(self.df, np.clip(z, -self._far, self._far))
        return np.where(np.abs(z) > self._far, np.where(z < 0, far, 1 - far), centre)

    def _quantile(self, u: Array) -> Array:
        far = (self._tail_constant - np.log(u)) / self.df
        with np.errstate(over="ignore"):
            return np.where(far > log(self._far), -np.exp(far), special.stdtrit(self.df, u))

    def _draw(self, rng: np.random.Generator, n: int) -> Array:
        return rng.standard_t(self.df, size=n)

    def _closed_entropy(self) -> float:
        half = self.df / 2
        spread = (half + 0.5) * _digamma_step(half)
        return spread + log(self.df) / 2 + _log_beta(half) + log(self.scale)

    def density(self, x: Any) -> Any:
        import sympy

        df, m, s = exact(self.df), exact(self.mean), exact(self.scale)
        beta = sympy.sqrt(sympy.pi) * sympy.gamma(df / 2) / sympy.gamma((df + 1) / 2)
        return (1 + ((x - m) / s) ** 2 / df) ** (-(df + 1) / 2) / (s * sympy.sqrt(df) * beta)


@dataclass(frozen=True)
class Uniform(Law):
    """The uniform law, p(x) = 1/(high - low) for low <= x <= high; score 0 inside and nan outside."""

    low: float = -1.0
    high: float = 1.0
    name = "uniform"

    def __post_init__(self) -> None:
        require_number(self, "low")
        require_number(self, "high")
        if not (self.low < self.high and isfinite(self.high - self.low)):
            raise LawError(f"Uniform: got low={self.low!r}, high={self.high!r}; expected low < high")

    @property
    def mean(self) -> float:
        return self.low + (self.high - self.low) / 2

    @property
    def std(self) -> float:
        return (self.high - self.low) / sqrt(12)

    @property
    def support(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def breakpoints(self) -> tuple[float, ...]:
        return ()

    @property
    def cut(self) -> float:
        return self.high - self.low

    @property
    def spec(self) -> str:
        return f"uniform({decimal_text(self.low)},{decimal_text(self.high)})"

    def _inside(self, x: Array) -> Any:
        return (x >= self.low) & (x <= self.high)

    def logpdf(self, x: ArrayLike) -> Array:
        a = np.asarray(x, dtype=np.float64)
        return np.where(self._inside(a), -log(self.high - self.low), np.where(np.isnan(a), np.nan, -np.inf))

    def score(self, x: ArrayLike) -> Array:
        return np.where(self._inside(np.asarray(x, dtype=np.float64)), 0.0, np.nan)

    def cdf(self, x: ArrayLike) -> Array:
        return np.clip((np.asarray(x, dtype=np.float64) - self.low) / (self.high - self.low), 0.0, 1.0)

    def survival(self, x: ArrayLike) -> Array:
        return np.clip((self.high - np.asarray(x, dtype=np.float64)) / (self.high - self.low), 0.0, 1.0)

    def quantile(self, u: ArrayLike) -> Array:
        return at_probabilities(u, self.support, lambda p: self.low + (self.high - self.low) * p)

    def sample(self, n: int, seed: int) -> Array:
        return generator(n, seed).uniform(self.low, self.high, n)

    def _closed_entropy(self) -> float:
        return log(self.high - self.low)

    def density(self, x: Any) -> Any:
        import sympy

        low, high = exact(self.low), exact(self.high)
        return sympy.Piecewise((1 / (high - low), (x >= low) & (x <= high)), (0, True))


_NAMED: dict[str, type[Law]] = {law.name: law for law in (Normal, Logistic, Laplace, StudentT, Uniform, LogNormal)}
_FORMS = (
    "normal[:mean,std], logistic[:mean,scale], laplace[:mean,scale], student:df[,mean,scale], cauchy[:median,scale], "
    "uniform[:low,high], lognormal[:mu,sigma], mixture:WEIGHT*LAW(...)+WEIGHT*LAW(...), FILE.npy or FILE.csv"
)


def parse_law(text: str) -> Law:
    """The law that a text names: `normal`, `normal:0,2`, `student:3`, `cauchy`, `lognormal`, `uniform:-1,1`,
    `mixture:0.3*normal(-2,1)+0.7*normal(2,1)`, a path to a .npy or .csv file of samples.

    A law's own `spec` (`normal(0,2)`) reads back too.

    Raises:
        LawError: an unknown name, a wrong count, something that is no number, or a file that holds no samples.

    Example:
        >>> parse_law("normal:0,2")
        Normal(mean=0.0, std=2.0)
    """
    text = text.strip()
    if text.lower().endswith((".npy", ".csv", ".txt")):
        return _from_file(Path(text))
    if text.lower().startswith("mixture"):
        return _mixture(text)
    match = re.fullmatch(r"([A-Za-z_]\w*)\s*(?:[:(](.*?)\)?)?", text, flags=re.DOTALL)
    name = match[1].lower() if match else text
    if match is not None and name == "cauchy":
        given = (match[2] or "").strip()
        return parse_law(f"student:1,{given}" if given else "student:1")
    if match is None or name not in _NAMED:
        hint = did_you_mean(name, [*_NAMED, "cauchy", "mixture"])
        raise LawError(f"law: got {text[:80]!r}; expected one of {_FORMS}{'; ' * bool(hint)}{hint}")
    law, given = _NAMED[name], (match[2] or "").strip()
    arguments: list[float] = []
    for part in given.split(",") if given else []:
        try:
            arguments.append(float(part))
        except ValueError:
            raise LawError(f"law {text[:80]!r}: got {part.strip()[:40]!r}; expected a number, as in {_FORMS}") from None
    slots = fields(cast(Any, law))
    needed = sum(f.default is MISSING for f in slots)
    # A lone location or end is ambiguous, so the counts are: none or all, and for student 1 or 3.
    if len(arguments) not in (needed, len(slots)):
        counts = " or ".join(str(c) for c in sorted({needed, len(slots)}))
        names = ",".join(f.name for f in slots)
        raise LawError(f"law {text[:80]!r}: got {len(arguments)} numbers; expected {counts} ({names})")
    return law(*arguments)


def resolve_law(law: Law | str) -> Law:
    """A law as it is, a text by `parse_law`.

    Raises:
        LawError: it is neither.
    """
    if isinstance(law, Law):
        return law
    if isinstance(law, str):
        return parse_law(law)
    raise LawError(f"law: got {type(law).__name__}; expected a law or one of {_FORMS}")


def law_from_dict(data: dict[str, Any]) -> Law:
    """The inverse of `Law.to_dict`.

    Raises:
        LawError: the dictionary describes no law.
    """
    values = dict(data)
    name = values.pop("law", None)
    try:
        if name == Empirical.name:
            return Empirical.from_dict(values)
        if name == Mixture.name:
            return Mixture(tuple(values["weights"]), tuple(law_from_dict(law) for law in values["laws"]))
        return _NAMED[name](**values)
    except (KeyError, TypeError) as error:
        known = ", ".join([*_NAMED, Mixture.name, Empirical.name])
        raise LawError(f"law from a dictionary: got law={name!r} ({error}); expected one of {known}") from None


def _mixture(text: str) -> Mixture:
    """`mixture:0.3*normal(-2,1)+0.7*normal(2,1)`, or with brackets as its `spec` has it."""
    body = text[len("mixture") :].strip().removeprefix(":").strip()
    if body.startswith("(") and body.endswith(")") and body.find(")") < len(body) - 1:
        body = body[1:-1]
    parts = re.split(r"\+(?=\s*[\d.]+(?:[eE][-+]?\d+)?\s*\*)", body)
    weights, laws = list[float](), list[Law]()
    for part in parts:
        weight, star, law = part.partition("*")
        try:
            weights.append(float(weight))
        except ValueError:
            star = ""
        if not star:
            raise LawError(
                f"law {text[:80]!r}: got {part.strip()[:40]!r}; expected WEIGHT*LAW, as in "
                "mixture:0.3*normal(-2,1)+0.7*normal(2,1)"
            )
        laws.append(parse_law(law))
    return Mixture(tuple(weights), tuple(laws))


def _from_file(path: Path) -> Law:
    kind = path.suffix.lower()
    try:
        samples = np.load(path, allow_pickle=False) if kind == ".npy" else _from_text(path)
    except FileNotFoundError:
        raise LawError(f"law {str(path)!r}: no such file; expected a {kind} file of samples") from None
    except (OSError, ValueError, EOFError) as error:
        raise LawError(f"law {str(path)!r}: not a readable {kind} array of numbers ({error})") from None
    return Empirical(samples)


def _from_text(path: Path) -> Array:
    """All numbers of a text file, by commas, semicolons or spaces; a first line of names is passed over."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [[cell for cell in re.split(r"[,;\s]+", line.strip()) if cell] for line in lines if line.strip()]
    if rows and not all(re.fullmatch(r"[-+.\deE]+", cell) for cell in rows[0]):
        rows = rows[1:]
    return np.array([float(cell) for row in rows for cell in row])


# Beyond 50 the series in 1/x is exact to float64, while the differences of Gamma functions cancel.
_SERIES_FROM = 50.0


def _log_beta(x: float) -> float:
    """log B(x, 1/2) = log Gamma(1/2) - log(Gamma(x + 1/2)/Gamma(x))."""
    if x < _SERIES_FROM:
        return float(special.betaln(x, 0.5))
    ratio = log(x) / 2 - 1 / (8 * x) + 1 / (192 * x**3) - 1 / (640 * x**5) + 17 / (14336 * x**7)
    return log(pi) / 2 - ratio


def _digamma_step(x: float) -> float:
    """psi(x + 1/2) - psi(x)."""
    if x < _SERIES_FROM:
        return float(special.digamma(x + 0.5) - special.digamma(x))
    return 1 / (2 * x) + 1 / (8 * x**2) - 1 / (64 * x**4) + 1 / (128 * x**6) - 17 / (2048 * x**8)
