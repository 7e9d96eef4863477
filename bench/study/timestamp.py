"""Time-stamps of a registration (RFC 3161): an authority signs that ``registration.json`` existed at a time.

The user sends the request; nothing here uses the network:

    write_request(folder)                                    # registration.tsq
    # curl --data-binary @registration.tsq ... > answer.tsr
    store_token(folder, Path("answer.tsr"), Path("authority.pem"))
    verify_token(token, content, folder / CERTIFICATES_FILE)  # at any later time
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from bench.core.errors import UserError
from bench.store.places import is_begun

#: Files of a study folder: what is time-stamped, the request, the answer, and the authority's certificates.
REGISTRATION_FILE = "registration.json"
REQUEST_FILE = "registration.tsq"
TOKEN_FILE = "registration.tsr"
CERTIFICATES_FILE = "registration.pem"

#: Part of a message of the library or of OpenSSL -> its meaning for the user.
_MEANINGS = {
    "Mismatch between messages": "it is the time-stamp of another content; request a new one for this registration",
    "certificate has expired": "the authority's certificate had expired when it signed; use another authority",
    "not yet valid": "the authority's certificate was not valid yet when it signed; use another authority",
    "local issuer certificate": "none of the given certificates signed the authority's; give the authority's root "
    "certificate and, if it has any, the intermediate ones",
    "self-signed certificate": "none of the given certificates is the authority's root certificate; give that one",
    "signer certificate not found": "it has no certificate; send the request that `prunebench timestamp` writes",
}


def timestamp_request(content: bytes) -> bytes:
    """Return a time-stamp request (DER) for the SHA-256 of a content.

    It has a random nonce, and requests that the answer include the authority's certificate.

    Parameters
    ----------
    content : bytes
        At least one byte. The authority receives its hash only.

    Examples
    --------
    >>> import hashlib
    >>> request = timestamp_request(b"registration")
    >>> hashlib.sha256(b"registration").digest() in request, request == timestamp_request(b"registration")
    (True, False)
    """
    builder = TimestampRequestBuilder(nonce=True, cert_req=True).hash_algorithm(HashAlgorithm.SHA256)
    return builder.data(content).build().as_bytes()


def verify_token(token: bytes, content: bytes, certificates: Path) -> datetime:
    """Verify a time-stamp, and return its time.

    Parameters
    ----------
    token : bytes
        The authority's answer (DER), as ``curl`` receives it.
    content : bytes
        What was time-stamped.
    certificates : Path
        File with the authority's root certificate and any intermediate ones (PEM, or one in DER). All are trusted.

    Returns
    -------
    datetime
        When the authority signed, in UTC. Its certificates must be valid at that time, not today.

    Raises
    ------
    UserError
        If the token is damaged, a refusal, altered, for another content, or signed by an authority whose
        certificates are not the given ones, not for time-stamping, or not valid at that time.
    """
    trusted = read_certificates(certificates)
    try:
        answer = decode_timestamp_response(token)
        if answer.status != 0:
            reasons = "; ".join(answer.status_string) or f"status {answer.status}"
            raise UserError(f"the authority did not grant the time-stamp: {reasons}; send the request again")
        VerifierBuilder(roots=trusted).build().verify_message(answer, content)
    except ValueError as error:
        if "InvalidSetOrdering" in str(error):
            raise UserError(
                "the time-stamp lists its certificates in an order that DER does not allow, so that it cannot be "
                "verified here; request one of another authority"
            ) from error
        raise UserError(
            f"the time-stamp is damaged, or is no answer of an authority (RFC 3161, DER): {_short(error)}; "
            f"store the answer again, as `prunebench timestamp` shows"
        ) from error
    except VerificationError as error:
        meaning = next((words for part, words in _MEANINGS.items() if part in str(error)), None)
        if meaning is None:
            meaning = "it was altered, or no time-stamping authority under the given certificates signed it"
            meaning += f" ({_short(error)})"
        raise UserError(f"the time-stamp is not valid: {meaning}") from error
    return answer.tst_info.gen_time


def read_certificates(file: Path) -> list[x509.Certificate]:
    """Read the certificates of a PEM file, or the one of a DER file.

    Raises
    ------
    UserError
        If the file has none.
    """
    content = file.read_bytes()
    try:
        if b"-----BEGIN" in content:
            return list(dict.fromkeys(x509.load_pem_x509_certificates(content)))
        return [x509.load_der_x509_certificate(content)]
    except ValueError as error:
        raise UserError(
            f"{file}: holds no certificate ({_short(error)}); give the root certificate that the authority publishes"
        ) from error


def describe_certificates(certificates: Sequence[x509.Certificate]) -> list[str]:
    """Return one line per certificate: its subject and its SHA-256 fingerprint, which authorities publish."""
    return [
        f"{certificate.subject.rfc4514_string()}, SHA-256 {certificate.fingerprint(SHA256()).hex()}"
        for certificate in certificates
    ]


def write_request(folder: Path) -> Path:
    """Write the time-stamp request of a registered study, and return its path.

    Raises
    ------
    UserError
        If the study is not registered, or was run already.
    """
    content = _registration(folder)
    _refuse_begun(folder)
    return _write(folder / REQUEST_FILE, timestamp_request(content))


def store_token(folder: Path, token: Path, certificates: Path) -> datetime:
    """Verify the answer of an authority, store it and the certificates in the study folder, and return its time.

    Parameters
    ----------
    folder : Path
        Study folder.
    token : Path
        The authority's answer to the request.
    certificates : Path
        As for `verify_token`.

    Raises
    ------
    UserError
        If the study is not registered or was run already, or the time-stamp is not valid.
    """
    content = _registration(folder)
    _refuse_begun(folder)
    answer, trusted = token.read_bytes(), certificates.read_bytes()
    try:
        time = verify_token(answer, content, certificates)
    except UserError as error:
        raise UserError(f"{token}: {error}") from error
    _write(folder / TOKEN_FILE, answer)
    _write(folder / CERTIFICATES_FILE, trusted)
    return time


def _registration(folder: Path) -> bytes:
    path = folder / REGISTRATION_FILE
    if not path.exists():
        raise UserError(f"{path}: is not there; `prunebench register {folder}` writes it")
    return path.read_bytes()


def _refuse_begun(folder: Path) -> None:
    """Raise UserError if rows may exist: the token enters the seeds, so that it must precede them."""
    if is_begun(folder):
        raise UserError(
            f"{folder}: was run already, and a time-stamp must precede the data; register and time-stamp the study in "
            f"a new folder"
        )


def _write(path: Path, content: bytes) -> Path:
    path.unlink(missing_ok=True)  # a link is replaced, not followed
    with path.open("xb") as stream:
        stream.write(content)
    return path


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
