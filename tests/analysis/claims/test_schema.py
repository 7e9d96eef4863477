"""Claims and their files: defaults of parts, roles, looks and adjustments."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from analysis.claims.schema import PARTS, Adjustment, Claim, ClaimsFile, adjusted, claims_path

from .conftest import CONTRAST

PLAIN = {key: value for key, value in CONTRAST.items() if key != "gate"}
IDENTITY = {"id": "same", "estimand": "repair_identity"}


def claim(*parts, **more):
    return Claim.model_validate({"id": "M1", "text": "it is so", "source": "ours", "parts": parts or [PLAIN], **more})


def test_where_gate_readings_and_text_are_defaults_of_the_parts():
    defaults = {"where": {"model": "cnn"}, "gate": {"correction": "reconstruct"}, "readings": {"margin": [0, 1]}}
    own = {"id": "own", "text": "mine", "where": {"model": "vit"}, "gate": "none", "readings": {}}
    first, second = claim(PLAIN, PLAIN | own, **defaults).parts
    assert (first.text, first.where, first.gate_arm) == (
        "it is so",
        {"model": ("cnn",)},
        {"correction": ("reconstruct",)},
    )
    assert first.readings == {"margin": (0, 1)}
    assert (second.text, second.where, second.gate_arm, second.readings) == ("mine", {"model": ("vit",)}, None, {})


def test_primary_parts_decide():
    found = claim(PLAIN, PLAIN | {"id": "b", "role": "supporting"}, PLAIN | {"id": "c", "role": "scan"})
    assert [part.id for part in found.primary] == ["main"]


@pytest.mark.parametrize(
    ("parts", "more", "message"),
    [
        ([PLAIN, PLAIN], {}, "two parts with the id 'main'"),
        ([PLAIN | {"role": "scan"}], {}, "no part with 'role: primary', so nothing decides it"),
        ([PLAIN], {"setting": {"datasets": ["digits"]}}, "no column 'datasets'"),
        ([], {"parts": []}, "at least 1 item"),
        ([PLAIN], {"correction": "holm"}, "Extra inputs are not permitted"),
        ([PLAIN | {"estimand": "overall"}], {}, "does not match any of the expected tags"),
    ],
)
def test_mistakes_are_refused(parts, more, message):
    with pytest.raises(ValidationError, match=message):
        claim(*parts, **more)


def test_an_adjustment_replaces_the_default_margin_alone():
    equal = PLAIN | {"kind": "equivalence"}
    parts = [PLAIN, equal | {"id": "b"}, equal | {"id": "c", "margin": 1}, IDENTITY]
    change = Adjustment(reason="small test set", margin=2, tolerance=0.3, tolerance_images=2)
    plain, default, stated, identity = adjusted(claim(*parts), change).parts
    assert [part.margin for part in (plain, default, stated)] == [None, 2, 1]
    assert [part.margin_reason for part in (plain, default, stated)] == ["", "small test set", ""]
    assert (identity.tolerance, identity.tolerance_images) == (0.3, 2)


@pytest.mark.parametrize(("looks", "valid"), [([10, 20], True), ([6, 7], True), ([5, 10], False), ([20, 10], False)])
def test_looks(looks, valid):
    values = {"version": 2, "looks": looks}
    if valid:
        assert ClaimsFile.model_validate(values).looks == tuple(looks)
        return
    with pytest.raises(ValidationError, match="the first at least 6"):
        ClaimsFile.model_validate(values)


def test_one_inclusion_needs_no_list():
    assert ClaimsFile.model_validate({"version": 2, "include": "sics"}).include == ("sics",)


def test_every_estimand_has_a_part():
    assert set(PARTS) >= {
        "any_of", "association", "combination", "contrast", "differs", "emp_beta", "emp_bound", "mask_identity",
        "ratio", "reevaluation", "repair_identity", "sign_change", "trend",
    }  # fmt: skip
    assert all(name == part.model_fields["estimand"].annotation.__args__[0] for name, part in PARTS.items())


def test_a_study_keeps_its_claims_in_one_file():
    assert claims_path(Path("study")) == Path("study/claims.yaml")
