"""Preference pairs: from local files, from the Hugging Face Hub, and as the texts that a model reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from actsmith.errors import ActsmithError, require

__all__ = ["HubPairs", "LocalPairs", "Pair", "Pairs", "as_text", "pair_of"]

Pair = dict[str, Any]
"""prompt, chosen and rejected, in TRL's format: each a text, or a list of messages {role, content}."""


class Pairs(Protocol):
    """Names preference pairs in plain values and loads them."""

    def load(self, data: Path | None) -> list[Pair]: ...


@dataclass(frozen=True)
class LocalPairs:
    """A file of JSON lines in TRL's format, in the folder of `--data`.

    Attributes:
        file: its path in that folder, or in none where it lies there itself.
    """

    file: str = "dpo/pairs.jsonl"

    def load(self, data: Path | None) -> list[Pair]:
        """The pairs in the order of the file.

        Raises:
            ActsmithError: no such file, or a line that is no pair.
        """
        places = [data / self.file, data / Path(self.file).name] if data is not None else []
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise ActsmithError(
                f"preference: no {self.file} in {str(data) if data else 'no folder'}; give the folder that holds "
                "pairs in TRL's format (--data)"
            )
        found = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                found.append({k: row[k] for k in ("prompt", "chosen", "rejected")})
            except (ValueError, KeyError, TypeError):
                raise ActsmithError(f"{path}: line {number}: expected JSON with prompt, chosen and rejected") from None
        return found


@dataclass(frozen=True)
class HubPairs:
    """A preference set of the Hugging Face Hub.

    Attributes:
        name: "stanfordnlp/SHP" (history, human_ref_A, human_ref_B, labels), "Anthropic/hh-rlhf" (chosen, rejected: two
            dialogues that differ in the last answer), or any in TRL's format.
        split: as `datasets.load_dataset` takes it.
    """

    name: str
    split: str = "train"

    def load(self, data: Path | None) -> list[Pair]:
        """The pairs, as texts.

        Raises:
            ActsmithError: the set cannot be fetched.
        """
        datasets = require("datasets", "language", "preference")
        try:
            rows = datasets.load_dataset(self.name, split=self.split)
        except Exception as error:  # whatever the Hub's client raises is the user's to read
            raise ActsmithError(
                f"preference: {self.name} could not be fetched ({type(error).__name__}: {error}); connect to the "
                "internet"
            ) from None
        return [pair_of(row) for row in rows]


def pair_of(row: dict[str, Any]) -> Pair:
    """A row of SHP, of HH or of TRL's format as a pair.

    Example:
        >>> said = "\\n\\nHuman: Hi\\n\\nAssistant:"
        >>> pair_of({"chosen": said + " Hello", "rejected": said + " No"})
        {'prompt': '\\n\\nHuman: Hi\\n\\nAssistant:', 'chosen': ' Hello', 'rejected': ' No'}
    """
    if "history" in row:
        answers = [f" {row['human_ref_A']}", f" {row['human_ref_B']}"]
        chosen, rejected = answers if row["labels"] == 1 else answers[::-1]
        return {"prompt": f"\n\nHuman: {row['history']}\n\nAssistant:", "chosen": chosen, "rejected": rejected}
    if "prompt" in row:
        return {k: row[k] for k in ("prompt", "chosen", "rejected")}
    mark = "\n\nAssistant:"
    end = row["chosen"].rindex(mark) + len(mark)
    other = row["rejected"].rindex(mark) + len(mark)
    return {"prompt": row["chosen"][:end], "chosen": row["chosen"][end:], "rejected": row["rejected"][other:]}


def as_text(pair: Pair, tokenizer: Any, longest: int) -> Pair:
    """The pair as plain texts in the form that the model reads: its chat template, else that of HH.

    Args:
        pair: texts or messages.
        tokenizer: of the model.
        longest: tokens of the prompt that are kept, the last ones.
    """
    prompt, answers = pair["prompt"], {k: pair[k] for k in ("chosen", "rejected")}
    if not isinstance(prompt, str):
        answers = {k: said[-1]["content"] for k, said in answers.items()}
        if getattr(tokenizer, "chat_template", None):
            prompt = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        else:
            names = {"user": "Human", "assistant": "Assistant", "system": "System"}
            said = "".join(f"\n\n{names.get(m['role'], m['role'])}: {m['content']}" for m in prompt)
            prompt, answers = f"{said}\n\nAssistant:", {k: f" {text}" for k, text in answers.items()}
    tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return {"prompt": tokenizer.decode(tokens[-longest:]) if len(tokens) > longest else prompt, **answers}
