"""`actsmith probe`: what the activations of a model see."""

from __future__ import annotations

import argparse
from pathlib import Path

from actsmith.cli.common import json_option, print_json

NAME = "probe"
HELP = "What a model's activations see: law, entropy, dead units."
EXAMPLES = (
    "probe timm:vit_tiny_patch16_224",
    "probe my_module:my_model --data inputs.npy",
    "probe my_module:my_model --data inputs.npy --html probe.html",
)


def options(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("model", metavar="MODEL", help="module:object, timm:NAME, or a transformers folder or Hub id")
    parser.add_argument("--data", type=Path, metavar="FILE", help=".npy of inputs, samples first (default: random)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with a picture per site")
    json_option(parser)


def run(request: argparse.Namespace) -> None:
    """Probe it; print the table, and write the page where asked."""
    from actsmith.surgery.blocks import mark_blocks
    from actsmith.surgery.load import load_batches, load_model
    from actsmith.surgery.probe import probe

    model = load_model(request.model).eval()
    batches, source = load_batches(model, request.data)
    found = mark_blocks(probe(model, batches, strict=False), model, batches[0])
    if request.html:
        from actsmith.report.html import write_page
        from actsmith.report.probe_page import probe_page

        write_page(request.html, probe_page({source: found.to_dict()}, title=request.model))
    if request.json:
        return print_json(found.to_dict() | {"model": request.model, "inputs": source})
    print(f"{request.model}: {source}\n\n{found.table()}\n\n{found.verdict}")
    if request.html:
        print(f"\nPage: {request.html}")
    return None
