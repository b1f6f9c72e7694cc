"""An authority and certificates of its own for tests over TLS."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """Signs certificates and writes them as PEM files into a folder; its own is ``NAME.pem``."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        draft = self._draft(self._name, self._key.public_key(), DAY)
        draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(
            usage, critical=True
        )
        self._certificate = draft.sign(self._key, hashes.SHA256())
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(self._certificate))

    def issue(self, name: str, host: str = "127.0.0.1", *, is_expired: bool = False, passphrase: str = "") -> tuple[Path, Path]:
        """A certificate for a host (an IP address or a name) and its key: NAME.crt and NAME.key; both stand in NAME.both."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        draft = self._draft(subject, key.public_key(), -DAY if is_expired else DAY)
        stands_for = x509.DNSName(host) if host[0].isalpha() else x509.IPAddress(ip_address(host))
        draft = draft.add_extension(x509.SubjectAlternativeName([stands_for]), critical=False)
        draft = draft.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        certificate = draft.sign(self._key, hashes.SHA256())
        lock = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        for ending, content in (("crt", _pem(certificate)), ("key", secret), ("both", secret + _pem(certificate))):
            (self.folder / f"{name}.{ending}").write_bytes(content)
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def _draft(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        draft = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        draft = draft.serial_number(x509.random_serial_number()).not_valid_before(now - 2 * DAY).not_valid_after(now + until)
        return draft.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
