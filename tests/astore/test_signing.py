"""Signatures: keys, what is signed, whose signature is taken, and that what was checked is what is used."""

import hashlib
import os
import struct
import subprocess
import zlib
from pathlib import Path

import msgpack
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from esp.astore import signing
from esp.astore.binary import from_bytes, read, sign, signature_of, verify
from esp.astore.signing import Signature, generate_key, is_valid, public_key, trusted_keys
from esp.errors import FileError, TrustError
from tests.astore.golden import make as golden
from tests.astore.test_binary import GOLDEN, GOLDEN_DIGEST

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032, section 7.1, test 1
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
PEM, PKCS8, SPKI = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.astore"
    path.write_bytes(GOLDEN.read_bytes())
    return path


def test_a_generated_key_is_for_its_owner_alone_and_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = generate_key(path)
    assert (len(made), path.stat().st_mode & 0o777) == (32, 0o600)
    assert public_key(path) == made
    before = path.read_bytes()
    with pytest.raises(FileError, match=r"key\.pem: the key cannot be written: File exists"):
        generate_key(path)
    assert path.read_bytes() == before
    assert generate_key(tmp_path / "other.pem") != made


def test_the_public_key_is_that_of_the_rfc(key: Path) -> None:
    assert public_key(key) == PUBLIC


def test_a_signed_file_says_what_the_format_says(model: Path, key: Path) -> None:
    assert sign(model, key).key == PUBLIC
    data = model.read_bytes()
    head_size, signature_size = struct.unpack_from("<II", data, 24)
    section = msgpack.unpackb(data[64 + head_size : 64 + head_size + signature_size])
    assert (section["algorithm"], section["key"]) == ("ed25519", PUBLIC)
    Ed25519PublicKey.from_public_bytes(PUBLIC).verify(section["signature"], b"esp-astore-v1\n" + bytes.fromhex(GOLDEN_DIGEST))
    assert data[64 : 64 + head_size] == GOLDEN.read_bytes()[64 : 64 + head_size]
    assert struct.unpack_from("<I", data, 12)[0] == zlib.crc32(data[:12] + bytes(4) + data[16 : 64 + head_size + signature_size])


def test_signing_keeps_digest_and_weights_and_gives_the_same_bytes_again(model: Path, key: Path) -> None:
    sign(model, key)
    once = model.read_bytes()
    assert read(model, verify=True).digest == GOLDEN_DIGEST
    assert read(model).graph.weights["w"].tolist() == [0.5, -2.0]
    sign(model, key)
    assert model.read_bytes() == once


def test_the_golden_signed_file_is_what_signing_the_other_gives(model: Path, key: Path) -> None:
    sign(model, key)
    assert model.read_bytes() == golden.signed() == (GOLDEN.parent / "signed.astore").read_bytes()


def test_signing_anew_takes_the_place_of_the_signature(model: Path, key: Path, tmp_path: Path) -> None:
    other = generate_key(tmp_path / "other.pem")
    assert signature_of(model) is None
    sign(model, tmp_path / "other.pem")
    size = model.stat().st_size
    found = signature_of(model)
    assert found is not None
    assert found.key == other
    sign(model, key)
    assert verify(model, [PUBLIC]).signer == PUBLIC.hex()
    assert model.stat().st_size == size


def test_a_file_is_signed_by_renaming_a_new_one_into_its_place(model: Path, key: Path) -> None:
    mapped, inode = read(model), model.stat().st_ino
    sign(model, key)
    assert model.stat().st_ino != inode
    assert mapped.graph.weights["w"].tolist() == [0.5, -2.0]
    assert sorted(path.name for path in model.parent.iterdir()) == ["key.pem", "m.astore"]


def test_a_damaged_file_is_not_signed(model: Path, key: Path) -> None:
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    with pytest.raises(FileError, match=r"tensor 'w'.*SHA-256"):
        sign(model, key)
    assert model.read_bytes() == data


def test_verify_says_who_has_signed(model: Path, key: Path) -> None:
    assert (verify(model).signature, verify(model).signer) == ("none", "")
    sign(model, key)
    assert (verify(model).signature, verify(model).signer) == ("valid", PUBLIC.hex())
    assert verify(model, [bytes(32), PUBLIC]).signature == "trusted"
    assert f"signature by {PUBLIC.hex()}, a trusted key" in verify(model, [PUBLIC]).checked


def test_an_absent_signature_and_one_by_an_unknown_key_are_one_line(model: Path, key: Path) -> None:
    with pytest.raises(TrustError, match=r"m\.astore: the model is not signed; sign it with a trusted key") as error:
        verify(model, [PUBLIC])
    assert error.value.exit_status == 2
    sign(model, key)
    for check in (
        verify,
        lambda path, keys: read(path, trusted=keys),
        lambda path, keys: from_bytes(path.read_bytes(), trusted=keys),
    ):
        with pytest.raises(TrustError, match=f"signed by {PUBLIC.hex()}, which is not trusted here; ") as error:
            check(model, [bytes(32)])
        assert "\n" not in str(error.value)


def spoilt(path: Path, at: int, sizes: tuple[int, int]) -> bytes:
    """The file with a bit of its signature's value flipped and its CRC made right again."""
    data = bytearray(path.read_bytes())
    end = 64 + sum(sizes)
    data[end - 64 + at] ^= 1
    data[12:16] = struct.pack("<I", zlib.crc32(bytes(data[:12]) + bytes(4) + bytes(data[16:end])))
    return bytes(data)


def test_a_signature_that_is_not_the_keys_is_found(model: Path, key: Path) -> None:
    sign(model, key)
    sizes = struct.unpack_from("<II", model.read_bytes(), 24)
    for at in (0, 31, 63):
        data = spoilt(model, at, sizes)
        (bad := model.with_name("bad.astore")).write_bytes(data)
        for keys in ([], [PUBLIC]):
            with pytest.raises(TrustError, match="the signature is not that of"):
                verify(bad, keys)
        with pytest.raises(TrustError, match="the signature is not that of"):
            from_bytes(data, trusted=[PUBLIC])
        assert from_bytes(data).digest == GOLDEN_DIGEST  # who asks for no signature is not told of one


def test_a_signature_of_another_model_is_refused(model: Path, key: Path) -> None:
    sign(model, key)
    data = model.read_bytes()
    head_size, signature_size = struct.unpack_from("<II", data, 24)
    head, section = data[64 : 64 + head_size], data[64 + head_size : 64 + head_size + signature_size]
    other = head.replace(b"tiny", b"tina")
    first = data[:12], data[16:32] + hashlib.sha256(other).digest()
    crc = struct.pack("<I", zlib.crc32(first[0] + bytes(4) + first[1] + other + section))
    forged = first[0] + crc + first[1] + other + section + data[64 + head_size + signature_size :]
    assert from_bytes(forged).name == "tina"
    with pytest.raises(TrustError, match="the signature is not that of"):
        from_bytes(forged, trusted=[PUBLIC])


def test_changed_weights_under_a_signed_header_are_found_whenever_keys_are_given(model: Path, key: Path) -> None:
    sign(model, key)
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    assert read(model).digest == GOLDEN_DIGEST  # a plain look does not read the weights
    with pytest.raises(FileError, match=r"tensor 'w'.*SHA-256"):
        read(model, trusted=[PUBLIC])
    with pytest.raises(FileError, match=r"tensor 'w'.*SHA-256"):
        from_bytes(data, verify=False, trusted=[PUBLIC])


def test_a_file_changed_in_its_place_after_the_check_does_not_change_the_model(model: Path, key: Path) -> None:
    sign(model, key)
    trusted, plain = read(model, trusted=[PUBLIC]), read(model)
    with model.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(np.array([9, 9], "<f4").tobytes())
    assert trusted.graph.weights["w"].tolist() == [0.5, -2.0]
    assert plain.graph.weights["w"].tolist() == [9.0, 9.0]  # a mapped file is what the file is


def test_an_unsigned_header_is_not_looked_into_where_keys_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the header was read")

    monkeypatch.setattr("esp.astore.contents.unpack", never)
    with pytest.raises(TrustError):
        from_bytes(GOLDEN.read_bytes(), trusted=[PUBLIC])


def test_trusted_keys_come_as_hexadecimal_lines_and_as_pem(tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key()
    text = f"# ours\n\n{PUBLIC.hex()}  build server\n" + other.public_bytes(PEM, SPKI).decode()
    (tmp_path / "keys").write_text(text)
    assert trusted_keys(tmp_path / "keys") == (PUBLIC, other.public_bytes_raw())


def test_keys_made_by_openssl_are_taken(tmp_path: Path) -> None:
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", "k.pem"], cwd=tmp_path, check=True)
    subprocess.run(["openssl", "pkey", "-in", "k.pem", "-pubout", "-out", "p.pem"], cwd=tmp_path, check=True)
    assert trusted_keys(tmp_path / "p.pem") == (public_key(tmp_path / "k.pem"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no public key in it"),
        ("# nobody\n", "there is no public key in it"),
        ("abc\n", "keys: line 1: this is no public Ed25519 key"),
        (PUBLIC.hex() + "\n" + PUBLIC.hex()[:-2], "keys: line 2: this is no public Ed25519 key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n", "keys: line 2: this is no public Ed25519 key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "keys: line 3: this is no public Ed25519 key"),
        ("\xff\xfe", "keys: line 1: this is no public Ed25519 key"),
    ],
)
def test_what_is_no_file_of_public_keys_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text, encoding="latin-1")
    with pytest.raises(FileError, match=said):
        trusted_keys(tmp_path / "keys")


def test_a_private_key_is_refused_where_public_ones_are_wanted(key: Path) -> None:
    with pytest.raises(FileError, match="this is a private key; give the public one"):
        trusted_keys(key)


def test_what_is_no_private_key_is_one_line(tmp_path: Path, model: Path) -> None:
    locked = Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret"))
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, serialization.NoEncryption())
    for name, data, said in (
        ("none", None, "No such file"),
        ("text", b"hello", "there is no private key in it that can be used"),
        ("locked", locked, "there is no private key in it that can be used"),
        ("curve", other, "this is a private key of another kind"),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        with pytest.raises(FileError, match=said) as error:
            sign(model, tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    assert model.read_bytes() == GOLDEN.read_bytes()


def test_a_signature_over_the_bare_digest_is_none_of_ours() -> None:
    digest = bytes.fromhex(GOLDEN_DIGEST)
    value = Ed25519PrivateKey.from_private_bytes(SEED).sign(digest)
    assert not signing.is_valid(signing.Signature(PUBLIC, value), digest)


@pytest.mark.parametrize("key", ["00" * 32, "01" + "00" * 31, "01" + "00" * 30 + "80", "ec" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"])  # fmt: skip
def test_a_key_under_which_anyone_can_sign_is_none(key: str, tmp_path: Path) -> None:
    """The points of small order: the neutral one takes the neutral point and zero for a signature of whatever model."""
    (tmp_path / "keys").write_text(key)
    with pytest.raises(FileError, match="line 1: this is no public Ed25519 key"):
        trusted_keys(tmp_path / "keys")
    if key == "01" + "00" * 31:
        assert is_valid(Signature(bytes.fromhex(key), bytes.fromhex(key) + bytes(32)), bytes(32))
