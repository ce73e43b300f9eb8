"""A certificate authority of one's own, for brokers and services that know each other by mTLS."""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=825)
_EARLIER = timedelta(minutes=5)


class Authority:
    """Keeps its certificate as `ca.pem` in a folder; its key stays in this object."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Hostler's own")
        made = (
            _begun(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *addresses: str, into: Path | None = None) -> Path:
        """A file with a new key and its certificate for `name`, which answers at `addresses`.

        It is called after the name, and lies beside the authority's own, or in the folder `into`.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        begun = _begun(_name(name), self._name, key.public_key()).add_extension(
            x509.ExtendedKeyUsage(uses), critical=False
        )
        if addresses:
            begun = begun.add_extension(
                x509.SubjectAlternativeName([_place(each) for each in addresses]), critical=False
            )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = begun.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        folder = into or self.folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.pem"
        _write_privately(file, secret + public)
        return file


def lasts_until(file: Path) -> datetime | None:
    """When the certificate in a file ends; None if there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + _LIFE)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _place(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _write_privately(file: Path, text: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(text)
