"""Which form a client gets for what it accepts (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import pytest

pytest.importorskip("python_multipart", reason="the extra 'serve' is not installed")

from hypothesis import given
from hypothesis import strategies as st

from zoo.edge.serve._accept import DICOM, RELATED, choose_form, read_type

FHIR, JSON = "application/fhir+json", "application/json"
FORMS = (JSON, FHIR, DICOM, RELATED)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("APPLICATION/FHIR+JSON", FHIR),
        ("application/fhir+json; fhirVersion=4.0", FHIR),
        ("application/fhir+json, application/json;q=0.9", FHIR),
        ("application/json;q=0.9, application/fhir+json", FHIR),
        ("application/fhir+json;q=0.1, */*", JSON),
        ("application/fhir+json, */*", FHIR),
        ("application/fhir+json, */*;q=0.1", FHIR),
        ("*/*, application/json;q=0", FHIR),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/dicom", DICOM),
        ('multipart/related; type="application/dicom"', RELATED),
        ("multipart/related;type=application/dicom;transfer-syntax=*", RELATED),
        ('multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.1', RELATED),
        ("multipart/related", RELATED),
        ("multipart/*", RELATED),
        ('multipart/related; type="application/octet-stream"', None),
        ("application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50", None),
        ("text/html", None),
        ("application/json;q=0", None),
        ("application/json;q=x", None),
        (",,;;", None),
        ("application/json, " * 500, None),
    ],
)
def test_the_form_is_the_one_that_is_wanted_most(accept: str, form: str | None) -> None:
    assert choose_form(accept, FORMS) == form


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_header_ends_in_a_defect(accept: str) -> None:
    assert choose_form(accept, FORMS) in {None, *FORMS}
    read_type(accept)
