"""What people type, as found in papers, model code, forums and bug reports: read as a function, or refused with a
message that says what to write. The functions are NumPy's and SciPy's, not ours."""

import numpy as np
from scipy import special

PARAMETERS = {"a": 2.0, "b": 0.5, "alpha": 0.3, "beta": 1.5}


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return special.expit(x)


def softplus(x):
    return np.logaddexp(0, x)


def elu(x, a=1.0):
    return np.where(x > 0, x, a * np.expm1(np.minimum(x, 0)))


def leaky(x, a=0.01):
    return np.where(x > 0, x, a * x)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


READ = [
    (lambda x: x**2, [
        "x^2", "x**2", "x²", "x*x", "x·x", "x × x", "x x", "x(x)", "(x)(x)", "pow(x, 2)", "torch.pow(x, 2)",
        "np.power(x, 2)", "np.square(x)", "square(x)", "x.pow(2)", "f(x) = x^2", "y = x**2", "X**2", "|x|^2", "|x||x|",
        "x^{2}", "$x^2$", r"x \cdot x", "x ^ 2", "x**2.0", "sympy.Pow(x, 2)", "x*\nx", "ｘ＾２",
    ]),
    (lambda x: 2 * x, [
        "2x", "2 x", "2*x", "2.0x", "x*2", "2(x)", "x + x", "2⋅x", "2 × x", "x/0.5", "x/½", "a x", "a*x", "x a",
        "a(x)", r"2 \times x", "torch.mul(x, 2)", "x\t* 2",
    ]),
    (lambda x: -x, [
        "-x", "−x", "- x", "–x", "-1x", "0 - x", "torch.neg(x)", "-(x)", "x*-1",
    ]),
    (lambda x: 3 * np.sin(x), [
        "3 sin(x)", "3sin(x)", "3*np.sin(x)", "3 * torch.sin(x)", "3 math.sin(x)", "3·sin(x)", r"3 \sin(x)",
        r"3\sin{\left(x \right)}", "3 SIN(x)", "3Sin(x)", "3 sin(x) ",
    ]),
    (lambda x: np.sin(x) ** 2, [
        "sin^2(x)", "sin(x)^2", "sin²(x)", "sin**2(x)", r"\sin^2(x)", r"\sin^{2}{\left(x \right)}", "(sin(x))^2",
        "np.sin(x)**2", "sin(x) sin(x)", "sin(x).pow(2)",
    ]),
    (relu, [
        "relu(x)", "ReLU(x)", "RELU(x)", "max(0, x)", "max(x, 0)", "max(0.0, x)", "np.maximum(0, x)",
        "np.maximum(x, 0)", "torch.relu(x)", "F.relu(x)", "F.relu(x, inplace=True)", "torch.nn.functional.relu(x)",
        "nn.ReLU()(x)", "x.relu()", "x.clamp(min=0)", "torch.clamp(x, min=0)", "clamp(x, 0)", "np.clip(x, 0, None)",
        "clip(x, min=0)", "x*(x>0)", "x * (x > 0)", "(x > 0) * x", "x(x>0)", "(x>=0)x", "x if x > 0 else 0",
        "x if x >= 0 else 0", "0 if x < 0 else x", "where(x > 0, x, 0)", "np.where(x > 0, x, 0)",
        "torch.where(x > 0, x, torch.zeros_like(x))", "torch.maximum(x, torch.tensor(0.0))", "(x + |x|)/2",
        "(x + abs(x))/2", "0.5(x + |x|)", "(|x| + x)/2", "x*step(x)", "x*heaviside(x)", "x*np.heaviside(x, 0)",
        "x*heaviside(x, 0.5)", r"\max(0, x)", r"\max\left(0, x\right)", r"\mathrm{relu}\left(x\right)",
        r"\operatorname{ReLU}(x)", r"\text{ReLU}(x)", "rectifier(x)", "jax.nn.relu(x)", "tf.nn.relu(x)",
        "tf.maximum(x, 0.)", "leaky_relu(x, 0)", "prelu(x, 0)",
    ]),
    (lambda x: relu(x) ** 2, [
        "relu(x)^2", "ReLU(x)²", "relu^2(x)", "relu²(x)", "relu2(x)", "squared_relu(x)", "relu_squared(x)",
        "max(0, x)^2", "F.relu(x).square()", "F.relu(x)**2", "repu(x)", "repu(x, 2)", "x²·(x>0)",
    ]),
    (lambda x: np.clip(x, 0, 6), [
        "relu6(x)", "ReLU6(x)", "F.relu6(x)", "min(max(0, x), 6)", "min(6, relu(x))", "clip(x, 0, 6)",
        "torch.clamp(x, 0, 6)", "x.clamp(0, 6)", "clamp(x, min=0, max=6)", "np.clip(x, a_min=0, a_max=6)",
        "tf.clip_by_value(x, 0, 6)", "nn.ReLU6()(x)", "hardtanh(x, 0, 6)", "F.hardtanh(x, min_val=0, max_val=6)",
    ]),
    (leaky, [
        "leaky_relu(x)", "LeakyReLU(x)", "leakyrelu(x)", "leaky_relu(x, 0.01)", "F.leaky_relu(x, negative_slope=0.01)",
        "nn.LeakyReLU(0.01)(x)", "nn.LeakyReLU(negative_slope=0.01)(x)", "max(x, 0.01x)", "max(0.01*x, x)",
        "x if x > 0 else 0.01x", "where(x > 0, x, 0.01*x)", "x(x>0) + 0.01x(x<=0)", "x*(x > 0) + 0.01*x*(x <= 0)",
        "np.where(x >= 0, x, x/100)", "leaky_relu(x, slope=1e-2)", "relu(x) - 0.01 relu(-x)",
    ]),
    (elu, [
        "elu(x)", "ELU(x)", "F.elu(x)", "nn.ELU()(x)", "F.elu(x, alpha=1.0)", "elu(x, 1)", "celu(x)",
        "x if x > 0 else exp(x) - 1", "where(x > 0, x, e^x - 1)", "(x>0)*x + (x<=0)*(exp(x)-1)",
        "np.where(x > 0, x, np.exp(x) - 1)", "max(0, x) + min(0, exp(x) - 1)", "x if x >= 0 else math.expm1(x)",
    ]),
    (sigmoid, [
        "sigmoid(x)", "Sigmoid(x)", "σ(x)", "1/(1+e^-x)", "1/(1 + e^(-x))", "1/(1+exp(-x))", "1/(1 + e**-x)",
        "torch.sigmoid(x)", "F.sigmoid(x)", "x.sigmoid()", "scipy.special.expit(x)", "expit(x)", "logistic(x)",
        r"\sigma(x)", r"\frac{1}{1+e^{-x}}", r"\frac{1}{1 + e^{- x}}", "(1+exp(-x))^-1", "(1 + tanh(x/2))/2",
        "1 / (1 + np.exp(-x))", "exp(x)/(1+exp(x))", "jax.nn.sigmoid(x)", "nn.Sigmoid()(x)",
    ]),
    (lambda x: x * sigmoid(x), [
        "x*sigmoid(x)", "x σ(x)", "x·σ(x)", "xσ(x)", "silu(x)", "SiLU(x)", "swish(x)", "Swish(x)", "x/(1+e^-x)",
        "x/(1+exp(-x))", "x * torch.sigmoid(x)", "F.silu(x)", "nn.SiLU()(x)", "swish(x, beta=1)", r"x \sigma(x)",
        r"x \sigma\left(x\right)", r"\frac{x}{1+e^{-x}}", "x.sigmoid()*x",
    ]),
    (lambda x: x * sigmoid(1.5 * x), [
        "swish(x, 1.5)", "swish(x, beta)", "x sigmoid(beta x)", "x*σ(βx)", "x σ(1.5 x)", r"x \sigma(\beta x)",
        r"x \sigma\left(\beta x\right)", "x/(1+exp(-beta*x))",
    ]),
    (softplus, [
        "softplus(x)", "ln(1+e^x)", "log(1+exp(x))", "log1p(exp(x))", "F.softplus(x)", "softplus(x, 1)", "Softplus(x)",
        "np.log1p(np.exp(x))", "logaddexp(x, 0)", "np.logaddexp(0, x)", r"\ln(1 + e^x)", "-logsigmoid(-x)",
        r"\log{\left(1 + e^{x} \right)}", "math.log(1 + math.e**x)", "-ln(sigmoid(-x))",
    ]),
    (lambda x: softplus(1.5 * x) / 1.5, [
        "softplus(x, 1.5)", "F.softplus(x, beta=1.5)", "softplus(x, beta)", "softplus(beta x)/beta",
        "F.softplus(x, beta=1.5, threshold=20)", "log(1 + e^(1.5x))/1.5",
    ]),
    (lambda x: x * special.ndtr(x), [
        "gelu(x)", "GELU(x)", "F.gelu(x)", "nn.GELU()(x)", "x Phi(x)", "xΦ(x)", "x·Φ(x)", "x*norm.cdf(x)",
        "x*normal_cdf(x)", "x*scipy.stats.norm.cdf(x)", "0.5x(1+erf(x/sqrt(2)))",
        "0.5 * x * (1 + torch.erf(x / math.sqrt(2)))", "x/2*(1+erf(x/√2))", r"x \Phi(x)", r"x \Phi\left(x\right)",
        "F.gelu(x, approximate='none')",
    ]),
    (gelu_tanh, [
        "gelu(x, 'tanh')", "F.gelu(x, approximate='tanh')", "gelu_tanh(x)", "gelu_new(x)",
        "0.5x(1 + tanh(sqrt(2/pi)(x + 0.044715x^3)))", "0.5*x*(1+tanh(√(2/π)(x+0.044715x³)))",
        "0.5 * x * (1 + np.tanh(np.sqrt(2/np.pi) * (x + 0.044715 * x**3)))",
    ]),
    (lambda x: x * np.tanh(softplus(x)), [
        "mish(x)", "Mish(x)", "x tanh(ln(1+e^x))", "x*tanh(softplus(x))", "F.mish(x)", "x·tanh(ln(1+e^x))",
        r"x \tanh(\ln(1 + e^{x}))", "x * torch.tanh(F.softplus(x))",
    ]),
    (np.tanh, [
        "tanh(x)", "Tanh(x)", "TANH(x)", "np.tanh(x)", "th(x)", "x.tanh()", "sinh(x)/cosh(x)", "(e^x-e^-x)/(e^x+e^-x)",
        "2 sigmoid(2x) - 1", "2σ(2x)-1", r"\tanh{x}", r"\tanh\left(x\right)",
    ]),
    (lambda x: x - np.tanh(x), [
        "tanhshrink(x)", "F.tanhshrink(x)", "x - tanh(x)", "x−tanh(x)",
    ]),
    (np.abs, [
        "|x|", "abs(x)", "Abs(x)", "fabs(x)", "np.abs(x)", "torch.abs(x)", "x.abs()", "absolute(x)", "sqrt(x^2)",
        "√(x²)", r"\left|x\right|", r"\lvert x \rvert", "x sign(x)", "x sgn(x)", "max(x, -x)", "∣x∣",
    ]),
    (lambda x: np.abs(np.abs(x) - 1), [
        "||x|-1|", "| |x| - 1 |", "|1-|x||", "abs(abs(x)-1)",
    ]),
    (lambda x: 2 * np.abs(x) + np.abs(x - 1), [
        "2|x| + |x-1|", "2|x|+|x-1|", "|x|·2+|1-x|",
    ]),
    (np.arctan, [
        "atan(x)", "arctan(x)", "np.arctan(x)", "arctg(x)", "Arctan(x)", r"\arctan(x)",
        r"\operatorname{atan}{\left(x \right)}",
    ]),
    (np.sign, [
        "sign(x)", "sgn(x)", "Sgn(x)", "np.sign(x)", "(x>0) - (x<0)", "x/|x| if x != 0 else 0",
    ]),
    (lambda x: np.log2(1 + x * x), [
        "log2(1+x^2)", "np.log2(1 + x**2)", "log(1+x^2, 2)", "ln(1+x²)/ln(2)",
    ]),
    (lambda x: np.log10(1 + x * x), [
        "log10(1+x^2)", "np.log10(x*x + 1)",
    ]),
    (np.cbrt, [
        "cbrt(x)", "np.cbrt(x)", "∛(x)", "sign(x)|x|^(1/3)",
    ]),
    (np.floor, [
        "floor(x)", "np.floor(x)", "torch.floor(x)", r"\lfloor x \rfloor", "x.floor()",
    ]),
    (np.ceil, [
        "ceil(x)", "math.ceil(x)",
    ]),
    (np.tan, [
        "tan(x)", "np.tan(x)", "tg(x)", "sin(x)/cos(x)",
    ]),
    (np.sinc, [
        "sinc(x)", "np.sinc(x)", "torch.sinc(x)", "sin(πx)/(πx)", "sin(pi x)/(pi x)",
    ]),
    (lambda x: np.exp(-(x**2) / 2), [
        "exp(-x^2/2)", "e^(-x^2/2)", "e**(-x**2/2)", "e^{-x^2/2}", r"e^{- \frac{x^{2}}{2}}", "exp(-0.5x²)",
        r"\exp(-x^2/2)", r"e^{-\frac{x^2}{2}}", "sqrt(2pi) normal_pdf(x)", "√(2π)φ(x)",
    ]),
    (lambda x: np.where((x > 0) & (x < 1), x, 0), [
        "x(0<x<1)", "x*(0 < x < 1)", "x if 0 < x < 1 else 0", "x*((x>0)&(x<1))", "x if x > 0 and x < 1 else 0",
        "where((x > 0) & (x < 1), x, 0)", "x*(x>0)*(x<1)",
    ]),
    (lambda x: ((x > 1) | (x < -1)) * 1.0, [
        "(x>1) or (x<-1)", "(x > 1) | (x < -1)", "not (-1 <= x <= 1)", "(|x|>1)", "1 if x > 1 or x < -1 else 0",
        "~((x<=1)&(x>=-1))",
    ]),
    (lambda x: np.clip(x, -1000, 1000), [
        "clip(x, -1000, 1000)", "max(-1e3, min(x, 1e3))", "hardtanh(x, -1000, 1000)",
    ]),
    (lambda x: np.maximum(x, 1e4), [
        "max(x, 1e4)", "where(x > 10000, x, 10000)", "x.clamp(min=1e4)",
    ]),
    (lambda x: x + np.sin(2 * x) ** 2 / 2, [
        "snake(x, 2)", "snake(x, a)", "x + sin(a x)^2/a", "x + sin^2(2x)/2",
        r"x + \frac{\sin^{2}{\left(a x \right)}}{a}",
    ]),
    (lambda x: x * relu(1 + x) ** 3, [
        "mrepu(x, 3)", "mrepu(x, p=3)", "x relu(x+1)^3", "x*max(0,1+x)**3",
    ]),
    (lambda x: np.pi * x, [
        "pi x", "πx", "π*x", "np.pi*x", "math.pi x", "PI*x", "Pi x", r"\pi x", "x*torch.pi",
    ]),
    (lambda x: x / (1 + np.abs(x)), [
        "softsign(x)", "x/(1+|x|)", "F.softsign(x)", "x / (1 + abs(x))", r"\frac{x}{1 + \left|x\right|}",
        r"\frac{x}{1+|x|}",
    ]),
    (lambda x: 0.3 * x, [
        "alpha x", "αx", "α·x", "α x", r"\alpha x", "alpha*x",
    ]),
    (lambda x: x * np.clip(x + 3, 0, 6) / 6, [
        "hardswish(x)", "hard_swish(x)", "HardSwish(x)", "F.hardswish(x)", "x*relu6(x+3)/6", "x ReLU6(x + 3)/6",
        "x*F.relu6(x + 3) / 6",
    ]),
    (lambda x: np.where(x > 1, x, 0), [
        "threshold(x, 1, 0)", "F.threshold(x, 1, 0)", "x(x>1)", "x*(x > 1)",
    ]),
    (lambda x: x, [
        "x", "X", "(x)", "+x", "identity(x)", "linear(x)", "  x ", "x¹", "x/1",
    ]),
    (lambda x: np.sqrt(1 + x * x), [
        "sqrt(1+x^2)", "√(1+x²)", r"\sqrt{1+x^2}", r"\sqrt{x^{2} + 1}", "hypot(1, x)", "(1+x^2)^(1/2)", "(1+x^2)^0.5",
        "np.sqrt(1 + x**2)",
    ]),
    (lambda x: (x + 1) * (x - 1), [
        "(x+1)(x-1)", "(x+1)*(x-1)", "(x + 1) (x - 1)", "x^2 - 1", r"\left(x + 1\right) \left(x - 1\right)",
    ]),
    (lambda x: 11 / 48 * np.minimum(x, 0) + relu(x), [
        "rrelu(x)", "F.rrelu(x)",
    ]),
]  # fmt: skip
"""(function, texts that mean it)."""

REFUSED = {
    "z*sigmoid(z)": r"the variable is x: write x\*sigmoid\(x\)", "t^2": r"write x\*\*2", "u": "write x",
    "sin x": r"write sin\(x\)", "tanh 2x": r"write tanh\(2\)", "abs x": r"write abs\(x\)", "xsin(x)": r"write x\*sin",
    "ax + 1": r"write a\*x", "x2": r"write x\*\*2 or 2\*x", "bx": r"write b\*x", "1/2x": r"\(a/b\)\*x or a/\(b\*x\)",
    "x/2(x+1)": "two ways", "1/3 x": "two ways", "e^2x": r"\^\(2\*x\)", "2^3x": "two ways", "x^2y": "two ways",
    "x y": "unknown name 'y'", "sin^-1(x)": r"write 1/sin\(x\)", "tan^-1(x)": r"write 1/tan\(x\)",
    "sin⁻¹(x)": r"write 1/sin\(x\)", "sin^2 x": r"write sin\(x\)\^2", "sin^2": "without its argument",
    "rellu(x)": "did you mean relu", "gelou(x)": "did you mean gelu", "sigmod(x)": "did you mean sigmoid",
    "sofplus(x)": "did you mean softplus", "tahn(x)": "tanh", "leky_relu(x)": "did you mean leaky_relu",
    "np.foo(x)": "unknown function 'foo'", "foo(x)": "unknown function 'foo'", "swich(x)": "did you mean swish",
    "elu": r"write elu\(x\)", "relu": r"write relu\(x\)", "GELU": r"write GELU\(x\)", "sin": r"write sin\(x\)",
    "gamma*x": r"params=\{'gamma': 1.0\} or --param gamma=1.0", "k x": "--param k=1.0",
    "aplha*x": "did you mean alpha", "elu(x, 1, 2)": r"elu takes \(x, alpha\), got 3",
    "elu(x, gamma=1)": r"elu takes \(x, alpha\)", "clip(x, lo=0)": r"takes \(u, min, max\)",
    "relu(x, 1)": "takes 1 argument, got 2", "max(x)": "takes 2 to 8", "pow(x)": "takes 2",
    "where(x > 0, x)": "takes 3 arguments, got 2", "relu()": "takes 1 argument, got 0",
    "x > 0 ? x : 0": "write a if x > 0 else b", "[x + 1]*2": r"write \( \) for \[ \]", "{x}": r"write \( \) for \{ \}",
    "lambda x: x": "write what it returns alone", "1,5*x": "1.5", "0,1x": "1.5", "x!": "no factorial",
    "x % 2": r"floor\(a/b\)", "x // 2": r"write floor\(a/b\)", "x @ x": "expected", "2 3": "expected an operator",
    "x\nx": "a line break stands between", "x 2\n+": "not well formed", "return x": "write what is returned alone",
    "x +": "not well formed", "(x": "not well formed", "x)": "not well formed", "sin(x": "not well formed",
    "inf*x": "no finite number", "max(x, -np.inf)": "no finite number", "nan": "no finite number",
    "1/0": "division by zero", "softplus(-1e9)**2*x": "beyond the range",
    "golu(-1000)*x": "beyond 700", "x/(1-1)": "division by zero", "log(0)": "not finite", "1e400 x": "beyond the range",
    "exp(1000)*x": "beyond 700", r"\begin{cases} x & x > 0 \\ 0 \end{cases}": r"write where\(x > 0, a, b\)",
    r"\foo{x}": r"without \\", r"\frac{x}{2": "} is missing", r"\sqrt": "an argument is missing",
    r"\frac{1}": "an argument is missing", "x if x": "not well formed", "x if x else 0": "must be a comparison",
    "x and 1": "must be a comparison", "if x > 0: x": "not well formed", "x = 2": "right side alone",
    "x; x": "write one formula", "∞": "finite", "x → x": "right side", "'x'": "real number", "x.__class__": "not part",
    "np.random.rand()": "named functions", "os.system('x')": "named functions",
    "torch.load('x')": "unknown function 'load'",
}  # fmt: skip
"""Text -> what its message says, as a pattern."""
