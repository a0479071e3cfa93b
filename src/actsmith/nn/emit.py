"""The C source of a node: printed from its program, never from a user's text.

A block of BLOCK elements is one loop that the compiler turns into SIMD code; the last, short block runs through the
same loop on a padded copy, so that a value does not depend on where in the tensor it stands. Sums are double over
blocks and are added up in the order of chunks of a fixed size, so that they do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from actsmith.formula.lower import Program
from actsmith.formula.spline import table
from actsmith.nn.nodes import ELEMENTWISE, Result, Spec, Term

__all__ = ["STORAGE", "source"]

STORAGE = ("float32", "float64", "bfloat16", "float16")
"""What a tensor may hold."""

BLOCK, CHUNK = 256, 8192
HUGE_FROM = 32 << 20  # bytes; from here on glibc's malloc maps fresh pages each time (DEFAULT_MMAP_THRESHOLD_MAX)
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


@cache
def _text(name: str) -> str:
    return files("actsmith.nn").joinpath(name).read_text(encoding="utf-8")


def source(spec: Spec, program: Program, dtype: str, channels: bool) -> str:
    """The source of one kernel, `int run(long n, int threads, long C, long inner, pointers ...)`.

    Element j belongs to channel (j / inner) % C; C = 1 and inner = n without channels. The pointers are to
    the inputs in the order of `spec`, then to the results. It returns 0, or 1 when memory is out.

    Args:
        spec, program: what to compute; the program's outputs are `spec.orders`.
        dtype: of the elementwise tensors, of STORAGE. Broadcast inputs and sums are of the type computed in.
        channels: for small `inner`: neighbouring elements may belong to different channels. Else for large ones.
    """
    names = Names(spec, channels)
    head = ["#define WIDE" if dtype == "float64" else "", f"#define STORED_{dtype.upper()}"]
    head += [f"enum {{ BLOCK = {BLOCK}, CHUNK = {CHUNK}, HUGE_FROM = {HUGE_FROM}, SUMS = {len(names.sums)} }};"]
    parts = [*head, _text("functions.h"), _text("storage.h"), *_tables(program), _block(names, program)]
    parts += [_span(names), _run_channels(names) if channels else _run(names)]
    return "\n".join(parts) + "\n"


class Names:
    """The C names of a node's inputs and results."""

    def __init__(self, spec: Spec, channels: bool) -> None:
        self.spec = spec
        self.channels = channels
        self.x = [f"x{i}" for i in range(spec.elementwise)]
        self.t = [f"t{i}" for i in range(spec.broadcast)]
        self.y = [f"y{i}" for i, r in enumerate(spec.results) if r.into == ELEMENTWISE]
        self.sums = [f"s{i}" for i, r in enumerate(spec.results) if r.into != ELEMENTWISE]

    def arguments(self, x: str, y: str, t: str = "{}") -> str:
        """What `span` takes: the tensors, and each parameter as a pointer."""
        return ", ".join([*(map(x.format, self.x)), *(map(t.format, self.t)), *(map(y.format, self.y))])

    def prepared(self) -> str:
        return " ".join(f"prepare({n}, n * sizeof(S));" for n in self.y)

    def declarations(self) -> str:
        x = [f"const S *restrict {n}" for n in self.x]
        return ", ".join([*x, *(f"const T *restrict {n}" for n in self.t), *(f"S *restrict {n}" for n in self.y)])


def _constant(value: float) -> str:
    if math.isinf(value):
        return "INFINITE" if value > 0 else "-INFINITE"
    return f"(T){value.hex()}"


def _tables(program: Program) -> list[str]:
    wanted = dict.fromkeys((i.table, int(i.value)) for i in program.instructions if i.table)
    result = []
    for name, order in wanted:
        rows = ", ".join(
            "{" + ", ".join(_constant(float(v)) for v in row) + "}"
            for row in table(name).derivative_coefficients(order)
        )
        result.append(f"static const T {name}_{order}[][4] = {{{rows}}};")
    return result


def _power(base: str, exponent: int) -> str:
    """A whole power by squaring, as products."""
    if exponent == 1:
        return base
    half = _power(base, exponent // 2)
    square = f"({half} * {half})"
    return f"({square} * {base})" if exponent % 2 else square


def statements(program: Program, inputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The instructions as C declarations, and the names of the outputs."""
    names = list(inputs)
    constants: dict[int, float] = {}
    lines = []
    for instruction in program.instructions:
        slot, args = len(names), [names[i] for i in instruction.args]
        names.append(f"v{slot}")
        if instruction.op == "constant":
            constants[slot] = instruction.value
            names[-1] = f"({_constant(instruction.value)})"
            continue
        if instruction.op in _INFIX:
            value = f"{args[0]} {_INFIX[instruction.op]} {args[1]}"
        elif instruction.table:
            t = table(instruction.table)
            rows = f"{instruction.table}_{int(instruction.value)}"
            ends = f"{len(t.values)}, {_constant(t.low)}, {_constant(t.step)}"
            value = f"f_spline({rows}, {ends}, {args[0]})"
        elif instruction.op == "pow" and constants.get(instruction.args[1], 0.5) in range(1, 17):
            value = _power(args[0], int(constants[instruction.args[1]]))
        else:
            value = f"f_{instruction.op}({', '.join(args)})"
        lines.append(f"const T v{slot} = {value};")
    return lines, [names[i] for i in program.outputs]


def _term(term: Term, values: dict[tuple[int, ...], str]) -> str:
    factors = [f"{term.count}"] if term.count != 1 else []
    factors += [*(f"a{w}" for w in term.weights), *(f"b{s}" for s in term.scalars)]
    return f"{' * '.join(factors)} * {values[term.order]}" if factors else values[term.order]


def _result(result: Result, values: dict[tuple[int, ...], str]) -> str:
    return " + ".join(_term(t, values) for t in result.terms)


def _block(names: Names, program: Program) -> str:
    """The one loop. A sum goes into `total`, or with channels, elementwise into a buffer."""
    spec = names.spec
    lines, outputs = statements(program, ["a0", *(f"b{i}" for i in range(spec.learnable))])
    values = dict(zip(spec.orders, outputs, strict=True))
    arguments = [f"const T *restrict {n}" for n in (*names.x, *names.t)] + [f"T *restrict {n}" for n in names.y]
    arguments += [f"T *restrict {n}" for n in names.sums] if names.channels else ["double *restrict total"]
    before = [f"const T a{i} = {n}[i];" for i, n in enumerate(names.x)]
    outside, after = [], []
    parameters = [f"const T b{i} = {n}[{'i' if names.channels else '0'}];" for i, n in enumerate(names.t)]
    reduction = ""
    if names.channels:
        before += parameters
    else:
        outside += parameters
        outside += [f"T {n} = 0;" for n in names.sums]
        after = [f"total[{k}] += (double){n};" for k, n in enumerate(names.sums)]
        reduction = f" reduction(+:{','.join(names.sums)})" if names.sums else ""
    for i, result in enumerate(spec.results):
        value = _result(result, values)
        if result.into == ELEMENTWISE:
            lines.append(f"y{i}[i] = {value};")
        elif names.channels:
            lines.append(f"s{i}[i] = {value};")
        else:
            lines += [f"const T d{i} = {value};", f"s{i} += i < count ? d{i} : 0;"]
    body = "\n    ".join(before + lines)
    return f"""
static __attribute__((noinline)) void block(int count, {", ".join(arguments)}) {{
  {" ".join(outside)}
  #pragma omp simd{reduction}
  for (int i = 0; i < BLOCK; i++) {{
    {body}
  }}
  {" ".join(after)}
}}"""


def _span(names: Names) -> str:
    """All blocks of a chunk: `total` holds the sums, with channels C numbers for each."""
    extra = "long at, long C, long inner, " if names.channels else ""
    loads = " ".join(f"T p_{n}[BLOCK]; load(p_{n}, {n} + b, m);" for n in names.x)
    room = " ".join(f"T p_{n}[BLOCK];" for n in names.y)
    stores = " ".join(f"store({n} + b, p_{n}, m);" for n in names.y)
    padded = [f"p_{n}" for n in (*names.x,)]
    direct = [f"{n} + b" for n in names.x]
    fill = spread = ""
    if names.channels:
        fill = " ".join(f"T q_{n}[BLOCK]; fill(q_{n}, {n}, m, at + b, C, inner);" for n in names.t)
        fill += " ".join(f"T r_{n}[BLOCK];" for n in names.sums)
        spread = " ".join(f"spread(total + {k} * C, r_{n}, m, at + b, C, inner);" for k, n in enumerate(names.sums))
    t = [f"q_{n}" for n in names.t] if names.channels else names.t
    last = [f"r_{n}" for n in names.sums] if names.channels else ["total"]
    through = ", ".join([*padded, *t, *(f"p_{n}" for n in names.y), *last])
    straight = ", ".join([*direct, *t, *(f"{n} + b" for n in names.y), *last])
    return f"""
static void span({extra}long n, {names.declarations()}, double *restrict total) {{
  for (long b = 0; b < n; b += BLOCK) {{
    const int m = n - b < BLOCK ? (int)(n - b) : BLOCK;
    {fill}
#ifdef DIRECT
    if (m == BLOCK) {{
      block(m, {straight});
      {spread}
      continue;
    }}
#endif
    {loads} {room}
    block(m, {through});
    {stores} {spread}
  }}
}}"""


def _run(names: Names) -> str:
    """By rows of `inner` elements: each belongs to one channel, and is cut into chunks."""
    signature = ", ".join([names.declarations(), *(f"T *restrict {n}" for n in names.sums)])
    call = names.arguments("{} + from", "{} + from", "{} + row % C")
    sums = " ".join(f"{n}[k] = (T)total[{i} * C + k];" for i, n in enumerate(names.sums))
    each = f"""{{
    const long row = c / pieces, at = c % pieces * CHUNK, from = row * inner + at;
    span(inner - at < CHUNK ? inner - at : CHUNK, {call}, partial + c * SUMS);
  }}"""
    return f"""
EXPORT int run(long n, int threads, long C, long inner, {signature}) {{
  {names.prepared()}
  double one[SUMS + 1] = {{0}}, *total = one;
  const long pieces = (inner + CHUNK - 1) / CHUNK, chunks = inner ? n / inner * pieces : 0;
  if (C == 1 && chunks <= 1) {{
    span(n, {names.arguments("{}", "{}")}, total);
  }} else {{
    total = __builtin_calloc((C + chunks) * SUMS + 1, sizeof(double));
    if (!total) return 1;
    double *partial = total + C * SUMS;
    if (threads > 1) {{
      #pragma omp parallel for num_threads(threads) schedule(static)
      for (long c = 0; c < chunks; c++) {each}
    }} else {{
      for (long c = 0; c < chunks; c++) {each}
    }}
    for (long c = 0; c < chunks; c++)
      for (int k = 0; k < SUMS; k++) total[k * C + c / pieces % C] += partial[c * SUMS + k];
  }}
  for (long k = 0; k < C; k++) {{ {sums} }}
  if (total != one) __builtin_free(total);
  return 0;
}}"""


def _run_channels(names: Names) -> str:
    signature = ", ".join([names.declarations(), *(f"T *restrict {n}" for n in names.sums)])
    call = names.arguments("{} + c * size", "{} + c * size")
    sums = " ".join(f"{n}[k] = (T)total[{i} * C + k];" for i, n in enumerate(names.sums))
    each = f"span(c * size, C, inner, n - c * size < size ? n - c * size : size, {call}, partial + c * SUMS * C);"
    return f"""
EXPORT int run(long n, int threads, long C, long inner, {signature}) {{
  {names.prepared()}
  long size = (n / 64 + CHUNK - 1) / CHUNK * CHUNK; /* at most 64 chunks: each has sums of its own for all channels */
  if (size < CHUNK) size = CHUNK;
  const long chunks = (n + size - 1) / size;
  double *partial = __builtin_calloc((chunks + 1) * SUMS * C + 1, sizeof(double));
  if (!partial) return 1;
  if (threads > 1 && chunks > 1) {{
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (long c = 0; c < chunks; c++) {each}
  }} else {{
    for (long c = 0; c < chunks; c++) {each}
  }}
  double *total = partial + chunks * SUMS * C;
  for (long c = 0; c < chunks; c++) for (long k = 0; k < SUMS * C; k++) total[k] += partial[c * SUMS * C + k];
  for (long k = 0; k < C; k++) {{ {sums} }}
  __builtin_free(partial);
  return 0;
}}"""
