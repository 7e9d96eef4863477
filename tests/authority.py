"""A time-stamping authority of a test's own: certificates made here, answers signed by ``openssl ts``."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OPENSSL = shutil.which("openssl")
CONFIGURATION = """\
[tsa]
default_tsa = test
[test]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: str,
    key: EllipticCurvePrivateKey,
    signed_by: tuple[str, EllipticCurvePrivateKey],
    valid_from: datetime,
    *,
    is_root: bool,
) -> x509.Certificate:
    """Make a certificate that is valid for a year: of a root, or of a signer of time-stamps."""
    issuer, issuer_key = signed_by
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from)
        .not_valid_after(valid_from + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    return builder.sign(issuer_key, SHA256())


class Authority:
    """A root certificate, and a signer under it.

    Parameters
    ----------
    folder : Path
        Receives ``root.pem`` and the files of OpenSSL.
    valid_from : datetime, optional
        Start of the year in which the signer's certificate is valid; default yesterday.
    name : str
        Name of the root.
    """

    def __init__(self, folder: Path, valid_from: datetime | None = None, name: str = "root") -> None:
        folder.mkdir()
        self.folder, self.root = folder, folder / "root.pem"
        yesterday = datetime.now(UTC) - timedelta(days=1)
        root_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
        root = _certificate(name, root_key, (name, root_key), yesterday, is_root=True)
        signer = _certificate("signer", key, (name, root_key), valid_from or yesterday, is_root=False)
        self.root.write_bytes(root.public_bytes(Encoding.PEM))
        (folder / "signer.pem").write_bytes(signer.public_bytes(Encoding.PEM))
        (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "openssl.cnf").write_text(CONFIGURATION.format(folder=folder))

    def answer(self, request: bytes, *, chain: bool = False) -> bytes:
        """Return the answer to a request, a time-stamp or a refusal; with the root's certificate if `chain`."""
        query, answer = self.folder / "request.tsq", self.folder / "answer.tsr"
        query.write_bytes(request)
        words = [
            OPENSSL, "ts", "-reply", "-config", self.folder / "openssl.cnf", "-queryfile", query,
            *(["-chain", self.root] if chain else []),
            "-signer", self.folder / "signer.pem", "-inkey", self.folder / "key.pem", "-out", answer,
        ]  # fmt: skip
        subprocess.run([str(word) for word in words], capture_output=True, check=True)
        return answer.read_bytes()
