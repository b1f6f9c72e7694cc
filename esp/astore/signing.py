"""Ed25519 signatures over a model's digest: keys, what a signature must be, and whose is trusted."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from esp.errors import FileError, TrustError

CONTEXT = b"esp-astore-v1\n"  # so that no signature made for another purpose counts here
KEY_SIZE, SIGNATURE_SIZE = 32, 64
_MOST_KEYS_BYTES = 1 << 20
_FIELD = 2**255 - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK = {0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8}  # y of the points of order 1 to 8, under which anyone can sign
_PEM_END = "-----END PUBLIC KEY-----"


@dataclass(frozen=True, slots=True)
class Signature:
    """The public key (32 bytes) of who signed, and the 64 bytes."""

    key: bytes
    value: bytes


def generate_key(path: Path) -> bytes:
    """Writes a new private key (PKCS8 PEM, for its owner's eyes alone) to a file that is not there yet; gives the public key.

    FileError where it cannot be written, or there is a file already.
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        mend = "name a new file in a folder that can be written; a key is never written over"
        raise FileError(f"the key cannot be written: {reason}", where=str(path), mend=mend) from err
    return key.public_key().public_bytes_raw()


def public_key(path: Path) -> bytes:
    """The public key, 32 bytes, of a file with a private one; FileError where it holds none."""
    return _private(path).public_key().public_bytes_raw()


def trusted_keys(path: Path) -> tuple[bytes, ...]:
    """The public keys of a file: one a line as 64 hexadecimal digits (what follows them is its name), or in PEM; # starts a comment.

    FileError for what is no key, and for a file without one.
    """
    text = _read(path).decode("utf-8", "replace")
    if "PRIVATE KEY" in text:
        raise FileError("this is a private key", where=str(path), mend="give the public one, and keep this one to yourself")
    keys = tuple(_keys_in(text, str(path)))
    if not keys:
        raise FileError("there is no public key in it", where=str(path), mend="write 64 hexadecimal digits a line, or PEM")
    return keys


def signed(digest: bytes, key_path: Path) -> Signature:
    """The signature of a digest by the private key in a file; the same for the same two."""
    key = _private(key_path)
    return Signature(key.public_key().public_bytes_raw(), key.sign(CONTEXT + digest))


def is_valid(signature: Signature, digest: bytes) -> bool:
    """Whether the signature is that of its key over the digest."""
    try:
        Ed25519PublicKey.from_public_bytes(signature.key).verify(signature.value, CONTEXT + digest)
    except (InvalidSignature, ValueError):
        return False
    return True


def check(signature: Signature | None, digest: bytes, trusted: Sequence[bytes], where: str) -> None:
    """Raises TrustError unless one of the trusted keys has signed the digest; with no keys, unless there is no bad signature."""
    if signature is None:
        if trusted:
            raise TrustError("the model is not signed", where=where, mend="sign it with a trusted key (esp sign)")
        return
    if trusted and signature.key not in trusted:
        what = f"the model is signed by {signature.key.hex()}, which is not trusted here"
        raise TrustError(what, where=where, mend="trust that key, or sign the model with one that is trusted")
    if not is_valid(signature, digest):
        what = f"the signature is not that of {signature.key.hex()} over this model"
        raise TrustError(what, where=where, mend="sign the model anew (esp sign)")


def _keys_in(text: str, where: str) -> Iterator[bytes]:
    block: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if block or line.startswith("-----BEGIN"):
            block.append(line)
            if line == _PEM_END:
                yield _from_pem("\n".join(block), f"{where}: line {number}")
                block = []
        elif line and not line.startswith("#"):
            yield _from_hex(line.split()[0], f"{where}: line {number}")
    if block:
        raise _no_key(f"{where}: line {number}")


def _from_hex(word: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(word)
    except ValueError as err:
        raise _no_key(where) from err
    return _sound(key, where)


def _from_pem(text: str, where: str) -> bytes:
    try:
        key = serialization.load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as err:
        raise _no_key(where) from err
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(where)
    return _sound(key.public_bytes_raw(), where)


def _sound(key: bytes, where: str) -> bytes:
    if len(key) != KEY_SIZE or (int.from_bytes(key, "little") & 2**255 - 1) % _FIELD in _WEAK:  # the top bit is the sign of x
        raise _no_key(where)
    return key


def _no_key(where: str) -> FileError:
    return FileError("this is no public Ed25519 key", where=where, mend="write 64 hexadecimal digits, or PEM")


def _private(path: Path) -> Ed25519PrivateKey:
    mend = "give an Ed25519 key in PKCS8 PEM without a password"
    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:  # TypeError: it wants a password
        raise FileError("there is no private key in it that can be used", where=str(path), mend=mend) from err
    if not isinstance(key, Ed25519PrivateKey):
        raise FileError("this is a private key of another kind", where=str(path), mend=mend)
    return key


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_KEYS_BYTES)
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or err
        raise FileError(f"the key cannot be read: {reason}", where=str(path), mend="check the path and its permissions") from err
