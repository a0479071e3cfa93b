"""The command line: a few verbs, thin calls into the library.

Exit status: 0 done, 1 the job failed, 2 the request was wrong. With `--json` standard output holds one JSON object and
nothing else; messages go to standard error.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from actsmith.errors import ActsmithError, NumericsError

if TYPE_CHECKING:
    from actsmith.experiments.reproduce import Reproduction
    from actsmith.formula.formula import Formula

FORMULAS = """\
FORMULA is a name from `actsmith list` or text in x, such as "max(0, x) + eps*x*exp(-x**2/2)"; give its parameters
with --param eps=0.01. LAW is normal, normal:MEAN,STD, laplace, logistic, student:DF, uniform:LOW,HIGH, or the path of
a .npy file of samples."""

WIDE = 160  # columns of a table that is not printed on a terminal

EXAMPLES = """\
examples:
  actsmith analyze gelu
  actsmith analyze "x*sigmoid(b*x)" --param b=1.5 --law laplace --json
  actsmith derive relu
  actsmith rank relu gelu silu mish tanh
  actsmith search --task digits
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    request = _parser().parse_args(arguments)
    try:
        result: int = request.run(request) or 0
        return result
    except NumericsError as error:
        print(f"actsmith {request.verb}: {error}", file=sys.stderr)
        return 1
    except ActsmithError as error:
        print(f"actsmith {request.verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print(f"actsmith {request.verb}: interrupted", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}. See `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    about = "Find better activation functions: entropy says where to go, criticality what survives, training decides."
    parser = _Parser(prog="actsmith", description=f"{about}\n\n{FORMULAS}", epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=_version())
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    def verb(name: str, run: Any, text: str, law: bool = True) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=f"{text}\n\n{FORMULAS}", formatter_class=raw)
        added.set_defaults(run=run)
        if law:
            added.add_argument("--law", default="normal", help="law of the pre-activation (default: normal)")
        return added

    listing = verb("list", _list, "The catalogue, as a table.", law=False)
    analyze = verb("analyze", _analyze, "What a formula does to information (entropy) and to depth (criticality).")
    derive = verb("derive", _derive, "The EAFO correction of a formula, both signs, and what each does to the entropy.")
    worst = verb("worst", _worst, "The worst activation between two bounds: the law's distribution function.")
    rank = verb("rank", _rank, "Formulas in the order of their smoothed, scale-free output entropy, lowest first.")
    search = verb("search", _search, "The main job: better activations for a task, against baselines.", law=False)

    bench = verb(
        "bench", _bench, "Measure this installation against named peers; ratios beside their targets.", law=False
    )
    bench.add_argument("parts", nargs="*", metavar="PART", help="activation, training, theory, criticality (all)")
    bench.add_argument("--quick", action="store_true", help="fewer repeats and smaller sizes")
    bench.add_argument("--out", type=Path, default=Path("benchmarks.csv"), metavar="CSV", help="where the rows go")

    again = verb("reproduce", _reproduce, "A paper's experiment, with error bars.", law=False)
    _reproduce_options(again)

    probe = verb("probe", _probe, "What a model's activations see: law, entropy, dead units.", law=False)
    probe.add_argument("model", metavar="MODEL", help="module:object, timm:NAME, or a transformers folder or Hub id")
    probe.add_argument("--data", type=Path, metavar="FILE", help=".npy of inputs, samples first (default: random ones)")
    probe.add_argument("--html", type=Path, metavar="FILE", help="write a page with a picture per site")

    for added in (analyze, derive):
        added.add_argument("formula", metavar="FORMULA")
    analyze.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
    rank.add_argument("formulas", nargs="*", metavar="FORMULA", help="what to rank (default: the whole catalogue)")
    for added in (analyze, derive, rank, search):
        added.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter's value")
        added.add_argument("--learn", action="append", default=[], metavar="NAME", help="a parameter that is learned")
    derive.add_argument("--step", type=float, default=None, help="step along the correction (default: eps = 0.01)")
    derive.add_argument("--keep", choices=("critical",), help="one step of descent that keeps K = 1 critical instead")
    derive.add_argument("--sign", choices=("descend", "published"), help="show one sign only")
    worst.add_argument("--low", type=float, default=-1.0, help="value at minus infinity (default: -1)")
    worst.add_argument("--high", type=float, default=1.0, help="value at infinity (default: 1)")
    _search_options(search)
    for added in (listing, analyze, derive, worst, rank, search, again, bench, probe):
        added.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    return parser


def _search_options(search: argparse.ArgumentParser) -> None:
    search.add_argument(
        "--task", default="digits", help="digits, mnist, mnist-5k, fashion-mnist, cifar10, or MODULE:OBJECT"
    )
    search.add_argument("--start", default="relu", metavar="FORMULA", help="activation to start from (default: relu)")
    search.add_argument("--data", type=Path, metavar="DIR", help="folder that holds the task's data")
    search.add_argument("--seeds", type=int, default=10, help="paired seeds per activation (default: 10, at least 2)")
    search.add_argument("--budget", metavar="TIME", help="begin no activation after this long: 90s, 10m or 2h")
    search.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/TASK-START-NUMBER)")
    search.add_argument("--resume", action="store_true", help="go on with the run in --out")


def _reproduce_options(again: argparse.ArgumentParser) -> None:
    again.add_argument("name", nargs="?", metavar="NAME", help="which experiment (default: list them)")
    again.add_argument("--preset", default="small", choices=("smoke", "small", "paper"), help="size (default: small)")
    again.add_argument("--data", type=Path, metavar="DIR", help="folder that holds the data sets")
    again.add_argument("--out", type=Path, metavar="DIR", help="run folder, gone on with (default: runs/NAME-PRESET)")
    again.add_argument("--pages", type=Path, metavar="DIR", help="where the page goes (default: the run folder)")
    again.add_argument("--activation", action="append", default=[], metavar="FORMULA", help="compare this one, too")
    again.add_argument("--device", default="auto", choices=("auto", "cpu"), help="where to train (default: auto)")
    again.add_argument("--precision", default="no", choices=("no", "bf16", "fp16"), help="mixed precision, or no")


def _version() -> str:
    from actsmith import __version__

    return f"actsmith {__version__}"


# ---------------------------------------------------------------------------------------------------------- the verbs


def _list(request: argparse.Namespace) -> None:
    from actsmith.formula.catalogue import CATALOGUE

    if request.json:
        return _print_json({"activations": [entry.to_dict() for entry in CATALOGUE.values()]})
    rows = []
    for entry in CATALOGUE.values():
        parameters = ", ".join(f"{n}={p.value:g}{' (learned)' * p.learn}" for n, p in entry.params.items())
        rows.append([entry.name, entry.text, parameters, entry.source])
    _print_table(["name", "f(x)", "parameters", "source"], rows)
    return None


def _analyze(request: argparse.Namespace) -> None:
    from actsmith.theory.analysis import analyze

    analysis = analyze(_formula(request.formula, request), request.law)
    if request.html:
        from actsmith.report.analysis_page import analysis_page
        from actsmith.report.html import write_page

        write_page(request.html, analysis_page(analysis))
        print(f"Page: {request.html}", file=sys.stderr)
    if request.json:
        return _print_json(analysis.to_dict())
    from actsmith.report.analysis_page import shape

    f, e, c = analysis.formula, analysis.entropy, analysis.criticality
    print(f"{f.name}:  f(x) = {f.text}")
    for name, parameter in f.params.items():
        print(f"  {name} = {parameter.value:g}{' (learned)' * parameter.learn}")
    print(f"  {shape(analysis)}; kinks: {', '.join(f'{k:g}' for k in f.kinks) or 'none'}\n")
    print(f"Entropy of f(X) in nats, X ~ {analysis.law}")
    for name in ("differential", "mixed", "scale_free", "smoothed"):
        value = getattr(e, name)
        print(f"  {name:<13}{value:+.9f}" if value is not None else f"  {name:<13}undefined: {e.reasons[name]}")
    print(f"\nCriticality: {c.universality}")
    for point in c.points:
        print(f"  K = {point.K:.9g}, C_W = {point.C_W:.9g}, C_b = {point.C_b:.9g}: {point.stability}")
    print(f"  {c.verdict}")
    if analysis.note:
        print(f"\n{analysis.note}")
    return None


def _derive(request: argparse.Namespace) -> None:
    from actsmith.formula.formula import Formula
    from actsmith.theory.eafo import correction

    if request.keep:
        return _derive_critical(request)
    found = correction(_formula(request.formula, request), request.law)
    record = found.to_dict(step=request.step)
    if request.sign:
        record["signs"] = {request.sign: record["signs"][request.sign]}
    if request.json:
        return _print_json(record)
    print(f"{found.f.name}:  f(x) = {found.f.text},  X ~ {found.law}\n")
    print(f"Correction  f + eps*psi,  psi(x) = {record['correction']}")
    for piece in record["eta"]:
        low, high = ("inf" if piece[end] is None else f"{piece[end]:g}" for end in ("low", "high"))
        interval = f"{'-' * (piece['low'] is None)}{low} < x < {high}"
        print(f"  {interval}:  " + (f"eta(z) = {piece['eta']}" if piece["eta"] else piece["reason"]))
    for sign, row in record["signs"].items():
        changed = Formula.from_dict(row["formula"])
        print(f"\n{sign}:  {changed.text}  with {', '.join(f'{n} = {p.value:g}' for n, p in changed.params.items())}")
        smooth = row["smoothed_entropy_change"]
        change = row["entropy_change"]
        head = "entropy without a rate, see below" if math.isnan(change) else f"entropy {change:+.3g} nats"
        print(f"  {head}" + ("" if smooth is None else f", smoothed {smooth:+.3g} nats"))
    print(f"\n{record['note']}")
    return None


def _derive_critical(request: argparse.Namespace) -> None:
    from actsmith.theory.descent import flow

    found = flow(_formula(request.formula, request), request.law, steps=1, step=request.step or 0.1, keep="critical")
    before, after = found.history[0], found.history[-1]
    record = {"formula": found.formula.to_dict(), "K": 1.0, "C_W": 1.0, "C_b": 0.0, "status": found.status}
    record |= {"smoothed": after.entropy, "smoothed_before": before.entropy, "condition_error": after.condition_error}
    if request.json:
        return _print_json(record)
    print(f"f(x) = {found.formula.text}")
    for name, parameter in found.formula.params.items():
        print(f"  {name} = {parameter.value:.9g}")
    print(f"  smoothed entropy {before.entropy:+.6f} -> {after.entropy:+.6f} nats")
    print(f"  K = 1, C_W = 1, C_b = 0 is critical to {after.condition_error:.1e}")
    return None


def _worst(request: argparse.Namespace) -> None:
    from actsmith.theory.eafo import worst
    from actsmith.theory.entropy import entropy

    f = worst(request.law, request.low, request.high)
    value = entropy(f, request.law)
    record = {"formula": f.text, "name": f.name, "low": request.low, "high": request.high, "latex": f.latex()}
    record |= {"law": request.law, "entropy": value.differential, "bound": math.log(request.high - request.low)}
    if request.json:
        return _print_json(record)
    print(f"The worst activation from {request.low:g} to {request.high:g} under {request.law}:  f(x) = {f.text}")
    print(f"  output entropy {value.differential:.12g} nats; the bound log(high - low) is {record['bound']:.12g}")
    return None


def _rank(request: argparse.Namespace) -> None:
    from actsmith.formula.catalogue import CATALOGUE
    from actsmith.theory.analysis import rank

    analyses = rank([_formula(text, request) for text in request.formulas or CATALOGUE], request.law)
    rows = [
        {
            "name": a.formula.name,
            "formula": a.formula.text,
            "smoothed": a.entropy.smoothed,
            "scale_free": a.entropy.scale_free,
            "universality": a.criticality.universality,
            "verdict": a.criticality.verdict,
            "reasons": dict(a.entropy.reasons),
            "note": a.note,
        }
        for a in analyses
    ]
    if request.json:
        return _print_json({"law": request.law, "order": "smoothed entropy, lowest first", "rows": rows})
    shown = []
    for a in analyses:
        values = (a.entropy.smoothed, a.entropy.scale_free)
        shown.append([a.formula.name, *("undefined" if v is None else f"{v:+.6f}" for v in values)])
        shown[-1].append(a.criticality.universality)
    _print_table(["name", "smoothed", "scale-free", "universality"], shown)
    for note in {a.note: None for a in analyses if a.note}:
        print(f"\n{note}")
    return None


def _probe(request: argparse.Namespace) -> None:
    from actsmith.surgery.load import load_batches, load_model
    from actsmith.surgery.probe import probe

    model = load_model(request.model).eval()
    batches, source = load_batches(model, request.data)
    found = probe(model, batches, strict=False)
    if request.html:
        from actsmith.report.html import write_page
        from actsmith.report.probe_page import probe_page

        write_page(request.html, probe_page({source: found.to_dict()}, title=request.model))
    if request.json:
        return _print_json(found.to_dict() | {"model": request.model, "inputs": source})
    print(f"{request.model}: {source}\n\n{found.table()}")
    if request.html:
        print(f"\nPage: {request.html}")
    return None


def _bench(request: argparse.Namespace) -> None:
    from dataclasses import asdict

    from actsmith.benchmarks.run import line, machine, run

    notes: list[str] = []

    def say(note: str) -> None:
        notes.append(note)
        print(note, file=sys.stderr, flush=True)

    known, rows = machine(), []
    for row in run(request.parts, request.quick, request.out, say):
        rows.append(asdict(row) | {"met": row.met})
        if not request.json:
            print(line(row), flush=True)
    if request.json:
        return _print_json({"machine": known, "rows": rows, "left_out": notes, "csv": str(request.out)})
    verdicts = [row["met"] for row in rows if row["met"] is not None]
    print(f"\n{verdicts.count(True)} of {len(verdicts)} targets met; {request.out} has the rows.")
    print(", ".join(f"{name} {value}" for name, value in known.items()) + " GB/s")
    return None


def _search(request: argparse.Namespace) -> None:
    from actsmith.progress import Progress
    from actsmith.report.run import render
    from actsmith.search.run import search

    with Progress() as progress:
        result = search(
            task=request.task,
            start=_formula(request.start, request),
            seeds=request.seeds,
            budget=_seconds(request.budget),
            data=request.data,
            out=request.out,
            resume=request.resume,
            progress=progress,
        )
    files = render(result.folder)
    if request.json:
        leaderboard: dict[str, Any] = json.loads((result.folder / "leaderboard.json").read_text())
        return _print_json(leaderboard | {"folder": str(result.folder)})
    shown = []
    for row in result.rows:
        interval = f"{row['low']:.4f} to {row['high']:.4f}"
        gain = f"{row['difference']:+.4f} ({row['difference_low']:+.4f} to {row['difference_high']:+.4f})"
        entropy = "undefined" if row["entropy"] is None else f"{row['entropy']:+.3f}"
        step = f"{1e3 * row['step_seconds']:.1f} ms"
        shown.append([row["name"], f"{row['accuracy']:.4f}", interval, gain, entropy, row["universality"], step])
    headings = ["activation", "accuracy", "95 % interval", f"minus {result.start}, paired", "entropy", "class", "step"]
    _print_table(headings, shown)
    if result.skipped:
        print(f"\nLeft out by the budget: {', '.join(result.skipped)}; --out {result.folder} --resume trains them.")
    print(f"\nRun folder: {result.folder}  ({', '.join(path.name for path in files)}, best.py)")
    return None


def _reproduce(request: argparse.Namespace) -> None:
    from actsmith.experiments.reproduce import reproduce, reproduction, reproduction_names

    if request.name is None:
        return _list_reproductions([reproduction(name) for name in reproduction_names()], as_json=request.json)
    presets = reproduction(request.name).presets
    if request.preset in presets:
        print(f"{request.name}, preset {request.preset}: {presets[request.preset].cost}", file=sys.stderr)
    from actsmith.experiments.loop import Runtime
    from actsmith.progress import Progress
    from actsmith.report.findings import render_findings

    runtime = Runtime.create(request.device, request.precision)
    with Progress() as progress:
        result = reproduce(
            request.name,
            request.preset,
            request.out,
            data=request.data,
            activations=request.activation,
            report=progress if runtime.main else None,
            runtime=runtime,
        )
    if not runtime.main:
        return None
    files = render_findings(result, request.pages)
    if request.json:
        return _print_json(json.loads(next(f for f in files if f.name == "findings.json").read_text()))
    print(result.findings.summary)
    for claim in result.findings.claims:
        print(f"\n{claim.verdict}: {claim.statement}\n  {claim.evidence}")
    print(f"\nRun folder: {result.folder}  (page: {files[0].parent / 'README.md'})")
    return None


def _list_reproductions(found: Sequence[Reproduction], *, as_json: bool) -> None:
    if as_json:
        rows = [{"name": r.name, "title": r.title, "presets": {n: p.cost for n, p in r.presets.items()}} for r in found]
        return _print_json({"reproductions": rows})
    _print_table(["name", "what", "small preset"], [[r.name, r.title, r.presets["small"].cost] for r in found])
    return None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    scale = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        return float(text if scale is None else text[:-1]) * (scale or 1.0)
    except ValueError:
        raise ActsmithError(f"--budget: expected a time such as 90s, 10m or 2h, got {text!r}") from None


# ------------------------------------------------------------------------------------------------- requests and output


def _formula(text: str, request: argparse.Namespace) -> Formula:
    """The formula that the request names, with --param and --learn applied where it has such parameters."""
    from dataclasses import replace

    from actsmith.formula.catalogue import CATALOGUE, resolve
    from actsmith.formula.formula import Formula, Param

    given: dict[str, float] = {}
    for pair in request.param:
        name, separator, value = pair.partition("=")
        try:
            given[name] = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise ActsmithError(f"--param: expected NAME=VALUE with a number, got {pair!r}")
    known = text in CATALOGUE or (text.isidentifier() and text not in ("x", "pi", "e"))
    if known:
        own = resolve(text).params
        several = len(getattr(request, "formulas", [])) != 1 and hasattr(request, "formulas")
        formula = resolve(text, **{n: v for n, v in given.items() if n in own or not several})
    else:
        formula = Formula(text, {name: Param(value) for name, value in given.items()})
    learned = {name: replace(p, learn=p.learn or name in request.learn) for name, p in formula.params.items()}
    return Formula(formula.expr, learned, formula.name)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(_plain(record), allow_nan=False))


def _plain(value: Any) -> Any:
    """JSON has no infinities: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # Text: a name may hold brackets
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
