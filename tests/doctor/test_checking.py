"""`check`: what it says of source, what it does not say, its options and bad input."""

import ast

import pytest
from readings import SAID, SILENT

from stablesoftmax.doctor.checking.reading import checked


def due(text):
    return sorted(
        (number, code)
        for number, line in enumerate(text.splitlines(), 1)
        for code in line.partition("#!")[2].split()
    )


def said(text):
    notes = []
    found = checked(text.encode(), "reading.py", notes)
    assert notes == []
    return sorted((finding.where["line"], finding.code) for finding in found)


@pytest.mark.parametrize("name", SAID)
def test_what_is_said(name):
    text = SAID[name]
    ast.parse(text)
    assert due(text)
    assert said(text) == due(text)


@pytest.mark.parametrize("name", SILENT)
def test_what_is_not_said(name):
    assert said(SILENT[name]) == []
