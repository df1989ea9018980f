"""Certificates as files: read back, told apart, refused when edited, found where they belong."""

import json
import logging

import pytest

from tvm_reorder.certify import store
from tvm_reorder.core.certificates import Certificate, CertificateError, CertificateKey
from tvm_reorder.core.monotone import Direction

FOUND = Certificate(
    op="sigmoid(x)",
    constants=(),
    dtype="float16",
    target="llvm somewhere",
    opt_level=3,
    tvm="0.19.0",
    llvm="22",
    libm="glibc 2.36",
    direction="rising",
    steps=1,
    worst_step_ulp=2,
    worst={"rising": 3, "falling": 15360, "valley": 2},
    turning_point=None,
    counterexample=(("0x1.0p+0", "0x1.8p-1"), ("0x1.004p+0", "0x1.0p-1")),
    values=63490,
    nan=0,
    lanes="compared",
    mismatches=0,
    worst_mismatch_ulp=0,
    date="2026-01-01",
)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv(store.FOLDER_VARIABLE, str(tmp_path / "own"))
    monkeypatch.setattr(store, "_named", set())
    return tmp_path / "own"


def edited(**changes) -> dict:
    return {**FOUND.as_dict(), **changes}


def test_a_certificate_reads_back():
    data = json.loads(json.dumps(FOUND.as_dict()))
    assert Certificate.from_dict(data) == FOUND
    assert FOUND.worst_ulp == 3 and FOUND.worst_as(Direction.VALLEY) == 2
    assert FOUND.worst_as(Direction.OTHER) is None


@pytest.mark.parametrize(
    "data, said",
    [
        ([], "is list but must be a JSON object"),
        ({}, "has schema None but must have 2"),
        (edited(schema=1), "has schema 1 but must have 2"),
        (edited(steps=0), "has been changed since it was made"),
        (edited(worst={"rising": 0, "falling": 0, "valley": 0}), "has been changed"),
        ({k: v for k, v in FOUND.as_dict().items() if k != "checksum"}, "has been changed"),
    ],
)
def test_an_edited_certificate_is_refused(data, said):
    with pytest.raises(CertificateError, match=said):
        Certificate.from_dict(data)


@pytest.mark.parametrize(
    "field, value",
    [
        ("op", 3),
        ("steps", -1),
        ("steps", True),
        ("direction", "upwards"),
        ("worst", {"rising": 0}),
        ("turning_point", "soon"),
        ("counterexample", [["0x1p+0"]]),
        ("constants", [1.0]),
        ("lanes", "hoped"),
    ],
)
def test_values_that_cannot_be_are_refused_whoever_signed(field, value):
    from tvm_reorder.core.certificates import _checksum

    body = {k: v for k, v in edited(**{field: value}).items() if k != "checksum"}
    with pytest.raises(CertificateError, match=f"has {field} .* which cannot be"):
        Certificate.from_dict({**body, "checksum": _checksum(body)})
    body[field] = FOUND.as_dict()[field]
    for changed, said in (
        ({**body, "extra": 1}, "unknown field 'extra'"),
        (_without(body), "lacks"),
    ):
        with pytest.raises(CertificateError, match=said):
            Certificate.from_dict({**changed, "checksum": _checksum(changed)})


def _without(body: dict) -> dict:
    return {name: value for name, value in body.items() if name != "date"}


def test_what_is_saved_is_found_for_its_key_alone(folder):
    assert store.find_certificate(FOUND.key) is None
    path = store.save_certificate(FOUND)
    assert path.parent == folder and [path] == list(folder.iterdir())
    assert store.find_certificate(FOUND.key) == FOUND
    others = {"op": "tanh(x)", "dtype": "float32", "target": "llvm", "tvm": "0.18.0", "llvm": "21"}
    assert set(others) == set(CertificateKey._fields)
    for name, value in others.items():
        assert store.find_certificate(FOUND.key._replace(**{name: value})) is None


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv(store.FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.user_folder() == tmp_path / "tvm_reorder" / "certificates"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.user_folder() == tmp_path / ".cache" / "tvm_reorder" / "certificates"


@pytest.mark.parametrize(
    "text, said",
    [
        ("{", "is no JSON"),
        (json.dumps(edited(steps=0)), "has been changed since it was made"),
        (
            json.dumps(Certificate(**{**FOUND.__dict__, "llvm": "21"}).as_dict()),
            "has llvm '21' but must have '22'",
        ),
        (
            json.dumps(Certificate(**{**FOUND.__dict__, "target": "llvm moon"}).as_dict()),
            "has target 'llvm moon' but must have 'llvm somewhere'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_once(folder, caplog, text, said):
    folder.mkdir()
    path = store.user_path(FOUND.key)
    path.write_text(text)
    with caplog.at_level(logging.WARNING, logger="tvm_reorder"):
        assert store.find_certificate(FOUND.key) is None
        assert store.find_certificate(FOUND.key) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(path) in line and said in line and "\n" not in line


def test_an_unreadable_shipped_certificate_would_be_noticed():
    """Every one that the package ships is whole, and of what its file's name says."""
    shipped = store._read_shipped()
    assert shipped
    for key in shipped:
        assert (key.tvm, key.dtype) in (("0.19.0", "float32"), ("0.19.0", "float16"))


@pytest.mark.parametrize("vectors", ["sse2", "avx2+fma", "avx512"])
def test_the_reference_counts_are_shipped(vectors):
    shipped = store._read_shipped()
    target = f"llvm x86-64 {vectors}"
    find = lambda op: shipped[CertificateKey(op, "float32", target, "0.19.0", "22")]
    for name in ("sigmoid", "tanh", "exp", "erf", "log", "fast_exp"):
        found = find(f"{name}(x)")
        assert (found.direction, found.steps, found.worst_ulp) == ("rising", 0, 0), name
        assert found.values == 2 * (0x7F800000 + 1)
    softsign = find("divide(x, add(abs(x), 0x1.0000000000000p+0))")
    assert (softsign.direction, softsign.worst_ulp) == ("rising", 2)
    if vectors == "avx512":
        fast = find("fast_tanh(x)")
        assert (fast.steps, fast.worst_step_ulp, fast.worst_ulp) == (15_406_354, 7, 8)
