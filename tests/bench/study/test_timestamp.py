"""Tests of `bench.study.timestamp`: what an authority signed is accepted, and nothing else."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from authority import OPENSSL, Authority
from cryptography.hazmat.primitives.serialization import Encoding
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from bench.core.errors import UserError
from bench.study.timestamp import (
    CERTIFICATES_FILE,
    REGISTRATION_FILE,
    TOKEN_FILE,
    describe_certificates,
    read_certificates,
    store_token,
    timestamp_request,
    verify_token,
    write_request,
)

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl, which signs the test's time-stamps, is not installed")

CONTENT = b'{"study": "mine"}\n'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority") / "ours")


@pytest.fixture(scope="module")
def token(authority):
    """A valid time-stamp of `CONTENT`."""
    return authority.answer(timestamp_request(CONTENT))


@pytest.fixture
def registered(tmp_path):
    """A study folder with a registration."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / REGISTRATION_FILE).write_bytes(CONTENT)
    return folder


def refusal(token, content, certificates):
    with pytest.raises(UserError) as caught:
        verify_token(token, content, certificates)
    return str(caught.value)


def test_a_time_stamp_gives_the_time_at_which_it_was_signed(token, authority):
    time = verify_token(token, CONTENT, authority.root)
    assert time.utcoffset() == timedelta(0)
    assert abs(time - datetime.now(UTC)) < timedelta(hours=1)


def test_certificates_may_be_in_der(token, authority, tmp_path):
    (root,) = read_certificates(authority.root)
    der = tmp_path / "root.der"
    der.write_bytes(root.public_bytes(Encoding.DER))
    assert verify_token(token, CONTENT, der) == verify_token(token, CONTENT, authority.root)


def test_other_content_is_refused(token, authority):
    assert "another content" in refusal(token, CONTENT.replace(b"mine", b"mina"), authority.root)


def test_another_authority_is_refused(token, tmp_path):
    assert "root certificate" in refusal(token, CONTENT, Authority(tmp_path / "other", name="other root").root)


def test_another_authority_of_the_same_name_is_refused(token, tmp_path):
    assert "no time-stamping authority under" in refusal(token, CONTENT, Authority(tmp_path / "impostor").root)


def test_the_signers_certificate_alone_is_not_trusted(token, authority):
    assert "root certificate" in refusal(token, CONTENT, authority.folder / "signer.pem")


@pytest.mark.parametrize(("days", "words"), [(-400, "had expired"), (1, "not valid yet")])
def test_a_certificate_outside_its_validity_is_refused(days, words, tmp_path):
    late = Authority(tmp_path / "late", valid_from=datetime.now(UTC) + timedelta(days=days))
    assert words in refusal(late.answer(timestamp_request(CONTENT)), CONTENT, late.root)


def test_an_altered_time_is_refused(token, authority):
    time = verify_token(token, CONTENT, authority.root).strftime("%Y%m%d%H%M%SZ").encode()
    altered = token.replace(time, time[:-2] + bytes([time[-2] ^ 1]) + b"Z")  # by one second
    assert altered != token
    assert "was altered" in refusal(altered, CONTENT, authority.root)


def test_a_hash_that_was_put_into_the_token_is_refused(token, authority):
    theirs = b"another registration"
    altered = token.replace(hashlib.sha256(CONTENT).digest(), hashlib.sha256(theirs).digest())
    assert altered != token
    assert "was altered" in refusal(altered, theirs, authority.root)


def test_damaged_bytes_are_refused(token, authority):
    for damaged in (b"", token[:-1], token + b"x", b"<html>404</html>"):
        assert "damaged" in refusal(damaged, CONTENT, authority.root)


def test_a_flipped_bit_is_refused_unless_nobody_signed_it(token, authority):
    time, accepted, reasons = verify_token(token, CONTENT, authority.root), [], []
    for place in range(len(token)):
        altered = token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :]
        try:
            accepted.append(verify_token(altered, CONTENT, authority.root))
        except UserError as error:
            reasons.append(str(error))
    assert set(accepted) <= {time}
    assert len(accepted) < len(token) / 20  # versions, and the names of algorithms
    assert not any("\n" in reason for reason in reasons)


def test_an_answer_without_a_certificate_is_refused(authority):
    builder = TimestampRequestBuilder(cert_req=False).hash_algorithm(HashAlgorithm.SHA256).data(CONTENT)
    assert "certificate" in refusal(authority.answer(builder.build().as_bytes()), CONTENT, authority.root)


def test_certificates_in_the_order_of_openssl_are_named(authority):
    """OpenSSL writes the signer's certificate first, although DER sorts a set: the longer certificate comes last."""
    token = authority.answer(timestamp_request(CONTENT), chain=True)
    assert "certificates in an order that DER does not allow" in refusal(token, CONTENT, authority.root)


def test_a_refusal_of_the_authority_is_reported_with_its_reason(authority):
    assert "did not grant" in refusal(authority.answer(b"no request"), CONTENT, authority.root)


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_a_file_without_certificates_is_refused(content, token, tmp_path):
    file = tmp_path / "root.pem"
    file.write_bytes(content)
    assert f"{file}: holds no certificate" in refusal(token, CONTENT, file)


def test_certificates_are_described_by_their_fingerprint(authority):
    (line,) = describe_certificates(read_certificates(authority.root))
    done = subprocess.run(
        ["openssl", "x509", "-in", authority.root, "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fingerprint = done.stdout.partition("=")[2].strip().replace(":", "").lower()
    assert line == f"CN=root, SHA-256 {fingerprint}"


def test_a_request_and_its_answer_are_stored(registered, authority, tmp_path):
    request = write_request(registered)
    answer = tmp_path / "answer.tsr"
    answer.write_bytes(authority.answer(request.read_bytes()))
    time = store_token(registered, answer, authority.root)
    stored = (registered / TOKEN_FILE).read_bytes()
    assert verify_token(stored, CONTENT, registered / CERTIFICATES_FILE) == time


def test_an_invalid_answer_is_not_stored(registered, authority, tmp_path):
    answer = tmp_path / "answer.tsr"
    answer.write_bytes(authority.answer(timestamp_request(b"another")))
    with pytest.raises(UserError, match=r"answer\.tsr: the time-stamp is not valid"):
        store_token(registered, answer, authority.root)
    assert not (registered / TOKEN_FILE).exists()


def test_a_link_in_the_place_of_the_request_is_not_followed(registered, tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    (registered / "registration.tsq").symlink_to(target)
    write_request(registered)
    assert target.read_text() == "mine"


def test_a_study_that_is_not_registered_is_refused(tmp_path):
    with pytest.raises(UserError, match="prunebench register"):
        write_request(tmp_path)


def test_a_study_that_was_run_is_refused(registered):
    (registered / "results.db").touch()
    with pytest.raises(UserError, match="must precede the data"):
        write_request(registered)
