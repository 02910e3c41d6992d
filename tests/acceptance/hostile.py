"""Requests that nobody means well: every parameter of every address multiplied, and odd bodies.

What is there to ask for is read off the application, so that a new parameter is tried by itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from fastapi.routing import APIRoute

LONG = 15_000  # bytes of a query, just below the limit
NUMBERS = (
    *("0", "-1", "1", "2147483647", "2147483648", "4294967296", "9007199254740993"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551616", "1e308", "1e309", "-1e309", "nan", "inf", "-inf", "0x10", "1_000"),
    *("0.5", "-0.0", "+5", " 7 ", "９", "1" * 4000, "1" * 5000, "1e-400"),
)
TEXTS = (
    *("", " ", "'", '"', "\\", "%", "_", "%_" * 100, "~", "0~0", "nan~job_1", "inf~x", "~job_1"),
    *("9" * 30 + "~job_1", "null", "true", "[]", "{}", ")(", "a" * 200, "é" * 100, "\U0001f600"),
    *("\x01", "\x1b[31m", "\x9b", "\r\n", "\u202e", "\ufeff", "\ufffe", "../../etc/passwd", "*"),
    *("job_" + "z" * 26, "-created", "--created", "name", "<script>", "${7*7}", "{{7*7}}"),
    *("a" * 5000, "%" * 3000, "ß" * 2000),
)
RAW = ("%ff", "%c3%28", "%ed%a0%80", "%80", "%2", "%zz", "%e2%82", "+", "%0a", "&&&&", "=", "%26")
Query = tuple[str, str, Mapping[str, str]]  # kind, address, headers


@dataclass(frozen=True)
class Address:
    """A path that is read, with what it takes."""

    path: str
    parameters: Sequence[str]
    places: Sequence[str]
    """Parts of the path that are chosen by the client."""


@dataclass
class Known:
    """What there is to ask for: values that lead somewhere."""

    places: dict[str, str] = field(default_factory=dict)
    values: dict[str, Sequence[str]] = field(default_factory=dict)

    def path(self, address: Address) -> str:
        """The address of something that is there."""
        found = address.path
        for place in address.places:
            found = found.replace(f"{{{place}}}", self.places.get(place, "nothing"))
        return found


def addresses(routes: Sequence[Any]) -> list[Address]:
    """All that can be read, live streams that never end apart."""
    found = []
    for route in _all(routes):
        if "GET" in (route.methods or ()) and route.path not in ("/v1/stream", "/stream"):
            names = [one.alias for one in _of_query(route.dependant)]
            places = [one.alias for one in route.dependant.path_params]
            found.append(Address(route.path, names, places))
    return sorted(found, key=lambda one: one.path)


def integers(routes: Sequence[Any]) -> Iterator[tuple[str, str, Any]]:
    """(path, name, field) of every parameter that is a number."""
    for route in _all(routes):
        for one in [*_of_query(route.dependant), *route.dependant.path_params]:
            yield route.path, one.alias, one.field_info


def queries(found: Sequence[Address], known: Known, seed: int, share: float) -> Iterator[Query]:
    """Each parameter of each address, one kind after the other; of all of them a `share`."""
    chance = random.Random(seed)
    for address in found:
        for query in _of(address, known):
            if chance.random() < share:
                yield query


def _of(address: Address, known: Known) -> Iterator[Query]:
    path = known.path(address)
    for name in [*address.parameters, "metadata[key1]"]:
        for value in _values(name, known):
            yield "repeated 150 times", f"{path}?{urlencode([(name, value)] * 150)}", {}
            yield "repeated 1000 times", f"{path}?{urlencode([(name, value)] * 1000)}", {}
            many = ",".join([value] * (LONG // (len(value) + 1)))
            yield "list of one value", f"{path}?{urlencode([(name, many)], safe=',')}", {}
        distinct = ",".join(f"x{number}" for number in range(2000))
        yield "list of many values", f"{path}?{urlencode([(name, distinct)], safe=',')}", {}
        several = [(name, f"x{number}") for number in range(190)]
        yield "many values", f"{path}?{urlencode(several)}", {}
        for number in NUMBERS:
            yield "number", f"{path}?{urlencode([(name, number)])}", {}
        for text in TEXTS:
            yield "text", f"{path}?{urlencode([(name, text)], errors='surrogatepass')}", {}
        for raw in RAW:
            yield "broken encoding", f"{path}?{quote(name)}={raw}", {}
        yield "long text", f"{path}?{urlencode([(name, 'x' * LONG)])}", {}
        yield "too long text", f"{path}?{urlencode([(name, 'x' * 25_000)])}", {}
    largest = dict.fromkeys(address.parameters, "9223372036854775807")
    yield "all at once", f"{path}?{urlencode(largest)}", {}
    filters = [(f"metadata[key{number}]", f"value{number}") for number in range(16)]
    yield "metadata filters", f"{path}?{urlencode(filters)}", {}
    filters = [(f"metadata[key{number}]", f"value{number}") for number in range(190)]
    yield "metadata filters", f"{path}?{urlencode(filters)}", {}
    for place in address.places:
        for text in (*TEXTS, *NUMBERS):
            odd = address.path.replace(f"{{{place}}}", quote(text, safe="") or "%20")
            yield "path", known.path(Address(odd, (), address.places)), {}
        for raw in RAW:
            odd = address.path.replace(f"{{{place}}}", raw)
            yield "path", known.path(Address(odd, (), address.places)), {}
    for name, values in HEADERS.items():
        for value in values:
            yield "header", path, {name: value}


RANGES = (
    *("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=0-0," * 500, "bytes=" + "9" * 40 + "-"),
    "bytes=" + ",".join(["0-"] * 2000),
    "bytes=" + ",".join(f"{2 * number}-{2 * number}" for number in range(1200)),
    "bytes=" + ",".join(f"{number}-" for number in range(1500)),
    "bytes=" + ",".join(["-5000000"] * 500),
)
HEADERS = {
    "last-event-id": ("-1", "9" * 18, "9" * 19, "x", ""),
    "if-none-match": ("*", '"' * 100, ",".join(['"x"'] * 1000), "W/"),
    "range": RANGES,
    "if-range": ("x", '"x"'),
    "accept": ("text/html", "*/*;q=" + "9" * 100, ",".join(["text/html"] * 500)),
    "accept-encoding": ("gzip;q=nan", "gzip," * 500, "gzip;q=" + "0." * 200),
    "x-request-id": ("x" * 1000, "\t", "a b"),
    "x-forwarded-for": (",".join(["1.2.3.4"] * 1000), "::" * 100, "%"),
    "cookie": ("a=" + "b" * 8000,),
    "content-type": ("application/json; charset=" + "x" * 100, "multipart/form-data", "/"),
    "origin": ("null", "http://" + "x" * 1000),
    "sec-fetch-site": ("x" * 100,),
}


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """(kind, path, JSON) of submissions that are as costly as they can be, or cannot be."""
    text = "x" * 900_000
    yield "body", "/v1/jobs", b'{"name": "' + text.encode() + b'"}'
    yield "body", "/v1/jobs", b'{"augment": [' + b'"x",' * 19_000 + b'"x"]}'
    yield "body", "/v1/jobs", b'{"augment": [' + b'"x",' * 150_000 + b'"x"]}'
    yield "body", "/v1/jobs", _object(f'"key{number}": 1' for number in range(19_000))
    metadata = _object(f'"k{number}$": 1' for number in range(9_000))
    yield "body", "/v1/jobs", b'{"metadata": ' + metadata + b"}"
    yield "body", "/v1/jobs", b'{"seed": ' + b"9" * 4000 + b"}"
    yield "body", "/v1/jobs", b'{"seed": ' + b"9" * 6000 + b"}"
    yield "body", "/v1/jobs", b'{"seed": 9223372036854775808}'
    yield "body", "/v1/jobs", b'{"epochs": 1e400, "timesteps": -1e400, "batch_size": NaN}'
    yield "body", "/v1/jobs", b'{"name": "\\ud800", "metadata": {"\\udfff": "\\u0000"}}'
    yield "body", "/v1/jobs", b'{"max_runtime_seconds": 1e308, "max_gradient_norm": 1e-320}'
    layer = b'{"kind": "conv", "channels": 100000, "kernel": 15, "padding": 15},'
    layers = b'{"network": {"name": "layers", "layers": [' + (layer * 128)[:-1] + b"]}}"
    yield "body", "/v1/jobs?validate_only=true", layers
    yield "body", "/v1/jobs?validate_only=true", b'{"batch_size": 10000000, "timesteps": 1024}'
    seeds = b'"over": {"/seed": [' + b",".join(b"%d" % seed for seed in range(200)) + b"]}"
    for shared in (
        *(b"{}", layers, b'{"augment": [' + b'"x",' * 19_000 + b'"x"]}'),
        _object(f'"key{number}": {number}' for number in range(19_000)),
        b'{"method": ' + _object(f'"key{number}": 1' for number in range(19_000)) + b"}",
        b'{"name": "' + text.encode() + b'"}',
    ):
        body = b'{"job": ' + shared + b", " + seeds + b"}"
        yield "sweep", "/v1/sweeps?validate_only=true", body
    each = b'{"name": "layers", "layers": [' + (b'{"kind":"conv","channels":4},' * 128)[:-1] + b"]}"
    distinct = b",".join(each.replace(b"4", b"%d" % number) for number in range(4, 200))
    over = b'{"over": {"/network": [' + distinct[: distinct.rfind(each[:20])].rstrip(b",") + b"]}}"
    yield "sweep", "/v1/sweeps?validate_only=true", over
    few = b",".join(each.replace(b"4", b"%d" % number) for number in range(4, 70))
    yield "sweep", "/v1/sweeps?validate_only=true", b'{"over": {"/network": [' + few + b"]}}"
    pointer = b"/a" * 200_000
    yield "sweep", "/v1/sweeps", b'{"over": {"' + pointer + b'": [1]}}'
    yield "sweep", "/v1/sweeps", b'{"over": {"/name": [' + b"[" * 30 + b"]" * 30 + b"]}}"
    many = _object(f'"/k{number}": [1]' for number in range(10_000))
    yield "sweep", "/v1/sweeps", b'{"over": ' + many + b"}"
    wide = b"[" + b"1," * 190_000 + b"1]"
    yield "sweep", "/v1/sweeps", b'{"over": {"/seed": ' + wide + b"}}"
    for path in ("/v1/jobs", "/v1/sweeps"):
        for odd in (
            b"",
            b"[]",
            b"null",
            b"0",
            b'"x"',
            b"{",
            b"\xff\xfe",
            b"\xef\xbb\xbf{}",
            b"[" * 31,
        ):
            yield "body", path, odd


def _object(entries: Iterator[str]) -> bytes:
    return ("{" + ", ".join(entries) + "}").encode()


def _values(name: str, known: Known) -> Sequence[str]:
    return known.values.get(name, ("1",))


def _of_query(dependant: Any) -> list[Any]:
    found = list(dependant.query_params)
    for inner in dependant.dependencies:
        found += _of_query(inner)
    return found


def _all(routes: Sequence[Any]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif (inner := getattr(route, "original_router", None)) is not None:
            yield from _all(inner.routes)
