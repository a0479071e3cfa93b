"""Activations that change during training: what moves eps, what is written down, resumption, the verdicts."""

import dataclasses
import json

import pytest
import torch
from harness_run import Product
from torch import nn
from torch.nn import functional

from actsmith.errors import ActsmithError
from actsmith.experiments.adaptive import EntropyWatch, Kan, VariedMlp
from actsmith.experiments.checkpoint import Checkpoint
from actsmith.experiments.experiment import Experiment
from actsmith.experiments.folder import RunFolder
from actsmith.experiments.loop import Recipe, Runtime, fit
from actsmith.experiments.models import Mlp, Single
from actsmith.experiments.reproduce import reproduce, reproduction
from actsmith.experiments.reproductions import dynamic_eafo
from actsmith.experiments.reproductions.dynamic_eafo import CONDITIONS, read
from actsmith.formula.catalogue import get
from actsmith.nn.activation import Activation
from actsmith.nn.hermite import hermite_formula
from actsmith.nn.kan import KANLinear
from actsmith.theory.entropy import entropy
from actsmith.theory.laws import Normal

PROBLEM = Product().load(None)
FAMILY = hermite_formula("relu", 5)
RECIPE = Recipe(epochs=4, batch=32)


@pytest.fixture(scope="module")
def runtime():
    return Runtime.create("cpu")


def trained(runtime, watch, formula=FAMILY, *, problem=PROBLEM, checkpoint=None, config=None):
    model = (config or VariedMlp(width=16, depth=3)).build(formula, [0, 1], PROBLEM)
    found = fit(
        problem, model, seeds=[0, 1], rate=3e-3, recipe=RECIPE, runtime=runtime, test=True,
        watcher=watch.build(model, PROBLEM), checkpoint=checkpoint,
    )  # fmt: skip
    values = found.to_dict()
    del values["step_seconds"]
    return values


# ------------------------------------------------------------------------------------------------ the watcher


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh"])
def test_a_look_finds_the_entropy_of_theory(name):
    network = nn.Sequential(Activation(name))
    watcher = EntropyWatch(look=5).build(network, PROBLEM)
    network(torch.randn(1, 256, 256, generator=torch.Generator().manual_seed(0)))
    watcher.before_step(0)
    (look,) = watcher.after_epoch(0)["looks"]
    assert look["step"] == 0
    assert look["entropy"]["0"] == pytest.approx([entropy(name, Normal()).smoothed], abs=0.01)
    assert watcher.after_epoch(1) is None


def test_looks_come_at_their_steps_for_every_layer_and_net(runtime):
    found = trained(runtime, EntropyWatch(look=10), get("gelu"))
    looks = [look for record in found["watched"] for look in record["looks"]]
    assert [look["step"] for look in looks] == [0, 10, 20, 30]
    assert {tuple(look["entropy"]) for look in looks} == {("activations.0", "activations.1", "activations.2")}
    assert all(len(nets) == 2 for look in looks for nets in look["entropy"].values())


def gradients(watch, task):
    """The gradient of every eps after a step of the watcher, where the task's is `task`."""
    model = VariedMlp(width=16, depth=2).build(FAMILY, [0, 1], PROBLEM)
    watcher = watch.build(model, PROBLEM)
    model(PROBLEM.train[0].expand(2, -1, -1))
    for p in model.parameters():
        p.grad = torch.full_like(p, task)
    watcher.before_step(0)
    assert all((p.grad == task).all() for p in (*model.weights, *model.biases))
    return torch.stack([p.grad for p in model.activations.parameters()])


def test_eps_gets_what_the_condition_says():
    nothing = gradients(EntropyWatch(), 3.0)
    alone, both = (gradients(EntropyWatch(0.1, task=task), 3.0) for task in (False, True))
    raised = gradients(EntropyWatch(-0.1, task=False), 3.0)
    assert (nothing == 3).all()
    assert alone.abs().max() > 1e-3
    torch.testing.assert_close(both, alone + 3)
    torch.testing.assert_close(raised, -alone)
    torch.testing.assert_close(gradients(EntropyWatch(0.1, task=False), 0.0), alone)


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_the_weights_sign_decides_where_the_entropy_goes(weight):
    """Of one activation on N(0, 1), by gradient descent."""
    network = nn.Sequential(Activation(hermite_formula("gelu", 3)))
    watcher = EntropyWatch(weight, task=False, every=1, look=20).build(network, PROBLEM)
    descent = torch.optim.SGD(network.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for step in range(21):
        network(torch.randn(1, 128, 32, generator=generator))
        watcher.before_step(step)
        descent.step()
        descent.zero_grad()
    first, last = (look["entropy"]["0"][0] for look in watcher.after_epoch(0)["looks"])
    assert weight * (first - last) > 0.03


def test_criticality_is_kept(runtime):
    """E f^2 under N(0, 1), by the trapezoidal rule, of what training made of the first layer."""
    x = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
    squares = {}
    for keep in ("nothing", "critical"):
        learned = trained(runtime, EntropyWatch(0.1, keep=keep))["parameters"]
        eps = [learned[f"activations.0.eps{k}"][0] for k in range(1, 6)]
        assert max(map(abs, eps)) > 1e-3
        f = torch.relu(x)
        he = [torch.ones_like(x), x]
        for k in range(1, 6):
            f = f + eps[k - 1] * he[k] * torch.exp(-x.square() / 2)
            he.append(x * he[k] - k * he[k - 1])
        squares[keep] = float(torch.trapezoid(f.square() * density, x))
    assert squares["critical"] == pytest.approx(0.5, abs=2e-3)
    assert abs(squares["nothing"] - 0.5) > 1e-2


class InterruptedHereError(Exception):
    pass


class Breaking:
    """The problem, until a batch that is not to be had."""

    def __init__(self, last):
        self.left = last

    def __getattr__(self, name):
        return getattr(PROBLEM, name)

    def batches(self, orders, device):
        for order in orders:
            if not self.left:
                raise InterruptedHereError
            self.left -= 1
            yield PROBLEM.batch(order, device)


@pytest.mark.parametrize("last", [5, 8, 19])
@pytest.mark.parametrize("keep", ["nothing", "critical"])
def test_an_interrupted_training_goes_on_bit_for_bit(runtime, tmp_path, last, keep):
    """In the middle of an epoch, at its end, between a look and the record that holds it."""
    watch = EntropyWatch(0.1, keep=keep, every=3, samples=200, look=7)
    config = VariedMlp(width=8, depth=2, norm="batch", dropout=0.1)
    eager = dataclasses.replace(runtime, checkpoint_seconds=0.0)
    whole = trained(runtime, watch, config=config)
    checkpoint = Checkpoint.at(tmp_path, "k")
    with pytest.raises(InterruptedHereError):
        trained(eager, watch, problem=Breaking(last), checkpoint=checkpoint, config=config)
    assert checkpoint.load()["state"]["step"] == last
    assert trained(eager, watch, checkpoint=checkpoint, config=config) == whole


def test_a_net_that_is_lost_does_not_move_its_neighbours(runtime):
    """Net 0 is not finite from the start; net 1 trains as beside a healthy one."""
    learned = []
    for lost in (False, True):
        model = VariedMlp(width=16, depth=2).build(FAMILY, [0, 1], PROBLEM)
        with torch.no_grad():
            model.weights[0][0] = torch.nan if lost else model.weights[0][0]
        watcher = EntropyWatch(0.1, look=9).build(model, PROBLEM)
        found = fit(PROBLEM, model, seeds=[0, 1], rate=3e-3, recipe=RECIPE, runtime=runtime, watcher=watcher)
        assert found.diverged == [lost, False]
        learned.append([values[1] for values in found.parameters.values()])
    assert learned[0] == learned[1]
    looks = [look for record in found.watched for look in record["looks"]]
    assert all(nets[0] is None and nets[1] is not None for look in looks for nets in look["entropy"].values())


def test_what_acts_is_there_when_rates_are_tuned(runtime, tmp_path):
    for watch, there in ((EntropyWatch(0.1, look=4), True), (Onlooker(), False)):
        part = Experiment(
            "e", Product(), VariedMlp(8, 2), (FAMILY,), (1e-3, 1e-2), Recipe(1, 64), reference=FAMILY.name,
            seeds=(0, 1), tuning_seeds=(9,), watch=watch,
        )  # fmt: skip
        folder = RunFolder(tmp_path / type(watch).__name__, {}, resume=True)
        part.run(folder, runtime, None, lambda *_: None)
        tuning = [r["watched"] for r in folder.results.values() if r["stage"] == "tune"]
        assert [bool(watched) for watched in tuning] == [there] * 2


@dataclasses.dataclass(frozen=True)
class Onlooker:
    def build(self, model, problem):
        return EntropyWatch(look=1).build(model, problem)


def test_a_watch_that_moves_nothing_is_refused():
    with pytest.raises(ActsmithError, match="expected one that moves"):
        EntropyWatch(task=False).build(nn.Sequential(Activation(FAMILY)), PROBLEM)
    with pytest.raises(ActsmithError, match="no activation with learnable parameters"):
        EntropyWatch(0.1).build(nn.Sequential(nn.ReLU()), PROBLEM)


# ------------------------------------------------------------------------------------------------- the models


def inputs(nets=2):
    return PROBLEM.train[0][:64].expand(nets, -1, -1)


def by_hand(config, net, act=functional.gelu):
    """The equation of `VariedMlp`, for one net of a built stack."""
    h = inputs(1)[0] * config.scale
    last = len(config.activations)
    for i in range(last):
        z = h @ config.weights[i][net] + config.biases[i][net]
        kind = type(config.norms[i].norm).__name__
        if kind == "BatchNorm1d":
            z = (z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt()
        elif kind == "GroupNorm":
            z = functional.layer_norm(z, z.shape[1:])
        z = act(z)
        h = h + z / last**0.5 if config.residual and i else z
    return h @ config.weights[last][net] + config.biases[last][net]


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"norm": "layer"}, {"residual": True}, {"dropout": 0.5}])
def test_a_stack_is_its_equation_net_by_net(options):
    model = VariedMlp(width=8, depth=3, **options).build(get("gelu"), [0, 1], PROBLEM)
    if "dropout" in options:
        assert not torch.equal(model(inputs()), model(inputs()))
        model.eval()
    found = model(inputs())
    for net in range(2):
        torch.testing.assert_close(found[net], by_hand(model, net), rtol=1e-4, atol=1e-4)


def test_plain_is_the_plain_network():
    plain, ours = (config(16, 3).build(FAMILY, [3, 4], PROBLEM) for config in (Mlp, VariedMlp))
    assert torch.equal(plain(inputs()), ours(inputs()))


def test_a_shift_moves_every_learned_parameter_and_nothing_else():
    still, moved = (VariedMlp(8, 2, shift=s).build(FAMILY, [0, 1], PROBLEM) for s in (0.0, -10.0))
    assert all((p == -10).all() for p in moved.activations.parameters())
    assert all(torch.equal(a, b) for a, b in zip(still.weights, moved.weights, strict=True))


def test_what_is_no_network_is_refused():
    for options in ({"norm": "group"}, {"dropout": 1.0}):
        with pytest.raises(ActsmithError, match="VariedMlp: got norm="):
            VariedMlp(**options).build(FAMILY, [0], PROBLEM)


def test_a_kan_learns_its_edges_by_both(runtime):
    torch.manual_seed(0)
    model = Kan(width=4).build(get("silu"), [0], PROBLEM)
    assert isinstance(model, Single)
    assert [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, KANLinear)] == [(2, 4), (4, 1)]
    watcher = EntropyWatch(0.01, look=4).build(model, PROBLEM)
    found = fit(PROBLEM, model, seeds=[0], rate=1e-2, recipe=Recipe(20, 32), runtime=runtime, watcher=watcher)
    assert found.watched == []
    assert found.validation["relative_rmse"][0] < 0.5


# ------------------------------------------------------------------------------------------- the reproduction


def test_smoke_runs_reads_and_trains_nothing_twice(tmp_path):
    first = reproduce("dynamic-eafo", "smoke", out=tmp_path / "run")
    content = (tmp_path / "run" / "results.jsonl").read_bytes()
    again = reproduce("dynamic-eafo", "smoke", out=tmp_path / "run")
    assert (tmp_path / "run" / "results.jsonl").read_bytes() == content
    assert again.findings == first.findings
    (table,) = first.findings.tables
    assert {row.name for row in table.rows} == {c.name for c in CONDITIONS}
    assert all(row.mean is not None for row in table.rows)
    entropies = next(c for c in first.findings.curves if c.name == "entropy-relu")
    assert {s.label for s in entropies.panels["digits plain"]} == {c.name for c in CONDITIONS}
    assert all(None not in s.y for s in entropies.panels["digits plain"])
    extremes = next(c for c in first.findings.curves if c.name == "extremes")
    assert [len(lines) for lines in extremes.panels.values()] == [2, 2]
    json.dumps(dict(first.findings.facts), allow_nan=False)


def test_every_preset_names_its_work_once():
    found = reproduction("dynamic-eafo")
    bases = tuple(get(name) for name in found.activations)
    for preset in found.presets.values():
        parts = preset.parts(bases)
        keys = [(p.name, p.activations[0].name) for p in parts]
        assert len(set(keys)) == len(keys)
        json.dumps([p.to_dict() for p in parts])


SEEDS = list(range(6))


class Results:
    """A folder whose trainings are made up: accuracies by condition, diverged nets by condition."""

    def __init__(self, path):
        self.folder = RunFolder(path, {}, resume=True)
        self.parts = reproduction("dynamic-eafo").presets["smoke"].parts((get("relu"),))

    def findings(self, accuracy, diverged=()):
        for part in self.parts:
            name = part.activations[0].name
            values = [accuracy.get(name, 0.8) + 0.001 * seed for seed in SEEDS]
            looks = [{"step": step, "entropy": {"activations.0": [0.5 + step] * len(SEEDS)}} for step in (0, 5)]
            record = {
                "experiment": part.name, "activation": name, "stage": "score", "rate": 3e-3, "seeds": SEEDS,
                "diverged": [name in diverged and seed == 0 for seed in SEEDS], "validation": {"accuracy": values},
                "test": {"accuracy": values}, "step_seconds": 1.0, "peak_bytes": 1,
                "watched": [{"epoch": 1, "looks": looks}],
            }  # fmt: skip
            self.folder.append(f"{part.name}/{name}", record)
        return read(self.folder, self.parts)


def verdicts(findings):
    keys = ("static base", "loss alone", "entropy alone", "learnable", "Lowering", "diverges")
    return [next(c.verdict for c in findings.claims if key in c.statement) for key in keys]


def test_verdicts_follow_the_numbers(tmp_path):
    better = dict.fromkeys(("entropy", "both", "both-strong", "both-critical"), 0.9)
    won, lost, none = "reproduced", "not reproduced", "not resolved"
    assert verdicts(Results(tmp_path / "a").findings(better)) == [won, won, won, none, won, won]
    worse = dict.fromkeys(better, 0.7)
    assert verdicts(Results(tmp_path / "b").findings(worse)) == [lost, lost, lost, none, lost, won]
    mixed = {"both": 0.9, "both-critical": 0.7}
    assert verdicts(Results(tmp_path / "c").findings(mixed))[0] == "partly reproduced"


def test_divergence_is_told(tmp_path):
    extreme = Results(tmp_path / "a").findings({}, diverged=["start 10 weight 0.1"])
    assert verdicts(extreme)[-1] == "partly reproduced"
    assert extreme.facts["extremes"]["broken"] == {"start 10 weight 0.1": [1, 0]}
    untrained = Results(tmp_path / "b").findings({"start -10 weight 0": 0.1})
    assert verdicts(untrained)[-1] == "partly reproduced"
    tuned = Results(tmp_path / "c").findings({}, diverged=["both"])
    assert verdicts(tuned)[-1] == "not reproduced"
    assert "both" in next(c.evidence for c in tuned.claims if "diverges" in c.statement)


def test_curves_are_the_recorded_entropies(tmp_path):
    findings = Results(tmp_path / "a").findings({})
    curves = next(c for c in findings.curves if c.name == "entropy-relu")
    line = curves.panels["digits plain"][0]
    assert (line.x, line.y) == ((0.0, 5.0), (0.5, 5.5))
    assert dynamic_eafo._read_extreme(dynamic_eafo._extreme(-0.1, 100.0)) == (-0.1, 100.0)
