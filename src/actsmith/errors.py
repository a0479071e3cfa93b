"""The errors a user can meet: one base class, few subclasses."""


class ActsmithError(ValueError):
    """A request that cannot be met. The message says what, got, expected, and how to mend it."""


class FormulaError(ActsmithError):
    """A formula that is not one: unknown name, bad syntax, a parameter out of its range."""


class LawError(ActsmithError):
    """A law that is not one: an unknown name, a scale that is not positive, samples that have no density."""


class NumericsError(ActsmithError):
    """A number that could not be computed to the accuracy asked for."""
