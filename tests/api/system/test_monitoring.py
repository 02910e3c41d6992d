"""The dashboard and the alert rules that are shipped ask for what there is, and can be loaded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.conftest import Server
from tests.api.system.test_gauges import numbers, register

FOLDER = Path(__file__).parents[3] / "docs" / "monitoring"
SERIES = re.compile(r"\b(?:saf|process)_[a-z_]+")
LABELS = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
COMPOSE = ("prometheus.yml", "datasource.yml", "dashboards.yml")
OF_PROMETHEUS = {"job", "instance"}


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())
    return found


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def questions(board: dict[str, Any], rules: list[dict[str, Any]]) -> list[str]:
    of_board = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return of_board + [rule["expr"] for rule in rules]


def test_every_series_and_label_that_is_asked_for_is_there(
    server: Server, board: dict[str, Any], rules: list[dict[str, Any]]
) -> None:
    register(server, "wrk_1")
    server.submit()
    numbers(server)  # counts itself from the second time on
    there = numbers(server)
    labels = {name: {key for of in found for key, _ in of} for name, found in there.items()}
    for expression in questions(board, rules):
        asked = SERIES.findall(expression)
        assert asked or "up{" in expression, expression
        assert set(asked) <= set(there), expression
        known = OF_PROMETHEUS.union(*(labels[name] for name in asked))
        assert set(LABELS.findall(expression)) <= known, expression
        for grouped in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            assert {name.strip() for name in grouped.split(",")} <= known, expression


def test_every_series_of_ours_is_looked_at(
    server: Server, board: dict[str, Any], rules: list[dict[str, Any]]
) -> None:
    register(server, "wrk_1")
    asked = set(SERIES.findall(" ".join(questions(board, rules))))
    given = {name for name in numbers(server) if name.startswith("saf_")}
    assert given - asked <= {"saf_build_info", "saf_worker_slots", "saf_http_request_seconds_sum"}


def test_each_alert_says_how_bad_it_is_and_what_to_do(rules: list[dict[str, Any]]) -> None:
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert set(rule["annotations"]) == {"summary", "action"}


def test_panels_of_the_dashboard_do_not_lie_over_each_other(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_compose_shows_the_board_by_a_source_that_is_there() -> None:
    read = {name: yaml.safe_load((FOLDER / "compose" / name).read_text()) for name in COMPOSE}
    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())
    (source,) = read["datasource.yml"]["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert (host in compose["services"], port) == (True, "9090")
    (scraped,) = read["prometheus.yml"]["scrape_configs"]
    (target,) = scraped["static_configs"][0]["targets"]
    assert target == "api:8000"
    assert '"api"' in compose["services"]["api"]["environment"]["SAF_ALLOWED_HOSTS"]
    (provider,) = read["dashboards.yml"]["providers"]
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert any(place.startswith(provider["options"]["path"] + "/") for place in mounted)
    secret = scraped["authorization"]["credentials_file"].rpartition("/")[2]
    assert secret in compose["services"]["prometheus"]["secrets"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["check", "config", "--syntax-only", "compose/prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
)
def test_promtool_accepts_the_rules_and_their_tests_pass(arguments: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_accepts_the_numbers(server: Server) -> None:
    register(server, "wrk_1")
    page = server.http.get("/metrics").text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
