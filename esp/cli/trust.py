"""Verbs on whom to trust: verify a model, make a key, sign with it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from esp.cli.options import Json, Model, out, show


def verify(
    model: Model,
    trusted_keys: Annotated[
        list[Path] | None, typer.Option(help="File of public keys: one of them must have signed the model.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every byte of an astore, and its signature."""
    from esp.astore.binary import verify as verify_file
    from esp.astore.signing import trusted_keys as keys_in

    result = verify_file(model, [key for file in trusted_keys or () for key in keys_in(file)])
    show(asdict(result), as_json, lambda: out.print("\n".join(result.checked)))


def keygen(
    key: Annotated[Path, typer.Argument(metavar="KEY.pem", help="Where the private key goes; the file must not be there yet.")],
    as_json: Json = False,
) -> None:
    """Make a key to sign models with, and print its public half."""
    from esp.astore.signing import generate_key

    public = generate_key(key).hex()
    show({"private_key": str(key), "public_key": public}, as_json, lambda: print(public))


def sign(
    model: Model,
    key: Annotated[Path, typer.Option(metavar="KEY.pem", help="The private key (Ed25519, PEM).")],
    as_json: Json = False,
) -> None:
    """Sign an astore; its digest stays."""
    from esp.astore.binary import sign as sign_file

    public = sign_file(model, key).key.hex()
    show({"astore": str(model), "signed_by": public}, as_json, lambda: out.print(f"{model} is signed by {public}"))
