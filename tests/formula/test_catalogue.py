"""The whole catalogue against definitions written a second time, in mpmath and in torch."""

import functools
import math

import mpmath as mp
import numpy as np
import pytest
import torch
from mpmath import mpf
from torch.nn import functional
from transformers.activations import ACT2FN

from actsmith.errors import FormulaError
from actsmith.formula.catalogue import CATALOGUE, get, resolve
from actsmith.formula.formula import Formula, Param
from actsmith.formula.lower import torch_ops

# ------------------------------------------------------------------------------ definitions, as the papers print them


def clip(x, low, high):
    return min(max(x, low), high)


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def normal_cdf(x):
    return mp.erfc(-x / mp.sqrt(2)) / 2


def tanh(x):
    return 1 - 2 / (1 + mp.exp(2 * x)) if x > 1 else mp.tanh(x)


def exp_saturating(x):
    """exp(x), with a ceiling past which no function here can tell the difference."""
    return mp.exp(min(x, mpf(40)))


def elu(x, alpha=1):
    return x if x > 0 else alpha * mp.expm1(x)


SELU_ALPHA = -mp.sqrt(2 / mp.pi) / (mp.erfc(1 / mp.sqrt(2)) * mp.exp(0.5) - 1)
SELU_SCALE = 1 / mp.sqrt(
    mp.quad(lambda t: t**2 * mp.npdf(t), [0, 12])
    + SELU_ALPHA**2 * mp.quad(lambda t: mp.expm1(t) ** 2 * mp.npdf(t), [-12, 0])
)

REFERENCE = {
    "identity": lambda x: x,
    "relu": lambda x: max(x, mpf(0)),
    "leaky_relu": lambda x: x if x > 0 else mpf("0.01") * x,
    "prelu": lambda x: x if x > 0 else x / 4,
    "relu6": lambda x: clip(x, mpf(0), mpf(6)),
    "relu_squared": lambda x: max(x, mpf(0)) ** 2,
    "star_relu": lambda x: (2 * max(x, mpf(0)) ** 2 - 1) / mp.sqrt(5),
    "repu": lambda x: x**2 if x > 0 else mpf(0),
    "mrepu": lambda x: x * (1 + x) ** 2 if x > -1 else mpf(0),
    "hardtanh": lambda x: clip(x, mpf(-1), mpf(1)),
    "hardsigmoid": lambda x: clip(x / 6 + mpf(1) / 2, mpf(0), mpf(1)),
    "hardswish": lambda x: x * clip(x / 6 + mpf(1) / 2, mpf(0), mpf(1)),
    "hardshrink": lambda x: x if abs(x) > 0.5 else mpf(0),
    "softshrink": lambda x: mp.sign(x) * max(abs(x) - mpf(0.5), mpf(0)),
    "elu": elu,
    "celu": elu,
    "selu": lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
    "pelu": elu,
    "elish": lambda x: x / (1 + mp.exp(-x)) if x >= 0 else mp.expm1(x) / (1 + mp.exp(-x)),
    "hard_elish": lambda x: (x if x >= 0 else mp.expm1(x)) * clip((x + 1) / 2, mpf(0), mpf(1)),
    "xielu": lambda x: (x**2 if x > 0 else mp.expm1(x) - x) * mpf(4) / 5 + x / 2,
    "gelu": lambda x: x * normal_cdf(x),
    "gelu_tanh": lambda x: x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mpf("0.044715") * x**3)),
    "quick_gelu": lambda x: x * sigmoid(mpf("1.702") * x),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "swish": lambda x: x / (1 + mp.exp(-x)),
    "aptx": lambda x: (1 + mp.tanh(x)) * x / 2,
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "tanhexp": lambda x: x * mp.tanh(exp_saturating(x)),
    "telu": lambda x: x * mp.tanh(exp_saturating(x)),
    "logish": lambda x: x * mp.log1p(sigmoid(x)),
    "smish": lambda x: x * mp.tanh(mp.log1p(sigmoid(x))),
    "serf": lambda x: x * mp.erf(softplus(x)),
    "phish": lambda x: x * mp.tanh(x * normal_cdf(x)),
    "gish": lambda x: x * mp.log1p(-mp.expm1(-exp_saturating(x))),
    "golu": lambda x: x * mp.exp(-mp.exp(-x)),
    "lisht": lambda x: x * tanh(x),
    "laplace": lambda x: mp.erfc(-(x - mp.sqrt(0.5)) / (mp.sqrt(1 / (4 * mp.pi)) * mp.sqrt(2))) / 2,
    "tanh": tanh,
    "lecun_tanh": lambda x: mpf("1.7159") * mp.tanh(2 * x / 3),
    "sigmoid": sigmoid,
    "softsign": lambda x: x / (1 + abs(x)),
    "erf": mp.erf,
    "arctan": mp.atan,
    "isru": lambda x: x / mp.sqrt(1 + x**2),
    "gaussian": lambda x: mp.exp(-(x**2)),
    "sin": mp.sin,
    "snake": lambda x: x + mp.sin(x) ** 2,
    "gcu": lambda x: x * mp.cos(x),
    "sinlu": lambda x: (x + mp.sin(x)) * sigmoid(x),
    "symlog": lambda x: mp.sign(x) * mp.log1p(abs(x)),
    "softplus": softplus,
    "logsigmoid": lambda x: -softplus(-x),
    "squareplus": lambda x: (x + mp.sqrt(x**2 + 4)) / 2,
    "isrlu": lambda x: x if x > 0 else x / mp.sqrt(1 + x**2),
    "bent_identity": lambda x: (mp.sqrt(x**2 + 1) - 1) / 2 + x,
    "nlrelu": lambda x: mp.log1p(max(x, mpf(0))),
    "crrelu": lambda x: max(x, mpf(0)) + mpf("0.01") * x * mp.exp(-(x**2) / 2),
}
