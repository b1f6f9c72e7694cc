"""Verbs on models: train one, show it, score rows with it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from esp.cli.options import Json, Model, err, out, progress_bar, show, tell, write_text
from esp.errors import UsageError


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="Data, layers and optimiser.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the astore goes.")],
    folds: Annotated[int, typer.Option(help="Cross-validate over so many folds of the data's groups first.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a model as a recipe says."""
    from esp.astore.binary import write
    from esp.train.recipe import mean_accuracy, run_folds, run_recipe

    result: dict[str, Any] = {"folds_mean_accuracy": mean_accuracy(run_folds(recipe, folds))} if folds else {}
    astore = write(run_recipe(recipe).astore, output)
    result |= {"astore": str(output), "digest": astore.digest, "metrics": astore.card["metrics"]}
    show(result, as_json, lambda: out.print_json(data=result))


def inspect(
    model: Model,
    picture: Annotated[Path | None, typer.Option("--svg", metavar="FILE.svg", help="Draw the graph into this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show what an astore says, and which backends take it."""
    from esp.astore.binary import read, signature_of
    from esp.astore.inspect import describe, render
    from esp.astore.picture import svg
    from esp.astore.signing import is_valid
    from esp.runtime.eligibility import eligibility

    astore = read(model)
    if picture:
        write_text(picture, svg(astore.graph, astore.name))
    signature = signature_of(model)
    if signature:
        description = describe(astore, signature.key, is_valid(signature, bytes.fromhex(astore.digest)))
    else:
        description = describe(astore)
    description |= eligibility(astore)
    show(description, as_json, lambda: tell(render(description)))


def score(
    model: Model,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, JSON lines, .npy, .npz, an image, or a folder of images.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the scores go (.jsonl, .csv, .npy, .npz); stdout, if left out.")
    ] = None,
    label: Annotated[
        str, typer.Option(help="Column of the true label ('folder': that of an image file), to tell the accuracy.")
    ] = "",
    backend: Annotated[str, typer.Option(help="numba, onnxruntime or numpy; auto takes one.")] = "auto",
    max_batch: Annotated[int, typer.Option(min=1, max=65536, help="Rows scored at once, at most.")] = 1024,
    as_json: Json = False,
) -> None:
    """Score the rows of a file.

    A row that cannot be read, or that the model refuses, is written with its reason; the exit status is 1 then.
    """
    from esp.astore.binary import read
    from esp.runtime.offline.score import score_file
    from esp.runtime.scorer import Scorer

    if as_json and output is None:
        raise UsageError("--json tells how it went, and so do the scores", where="score", mend="write the scores to a file by -o")
    scorer = Scorer.bind(read(model), backend, max_batch, threads=0)
    with progress_bar(f"scoring {file.name}") as progress:
        tally = score_file(scorer, file, output, label, progress)
    told = {
        "rows": tally.rows,
        "not_scored": tally.bad,
        "reasons": tally.reasons,
        "accuracy": tally.accuracy,
        "backend": scorer.backend,
    }
    for reason in tally.reasons:
        print(f"esp: {reason}", file=sys.stderr)
    if more := tally.bad - len(tally.reasons):
        print(f"esp: and {more:,} more row{'s' * (more > 1)} not scored", file=sys.stderr)
    accuracy = "" if tally.accuracy is None else f", accuracy {tally.accuracy:.4f} of {tally.labelled:,}"
    line = f"{tally.rows:,} rows scored on {scorer.backend}, {tally.bad:,} not{accuracy}"
    show(told, as_json, lambda: err.print(line))
    if tally.bad:
        sys.exit(1)
