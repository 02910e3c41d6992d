"""A page of another site, in a real browser, against a server on loopback."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import FLAGS, find_chromium
from tests.browser.service import Pages

EVIL = "evil.example"

# Each entry ends as "read: …" where the page got something out of the service.
ATTEMPTS = """async ([target, job]) => {
  const outcome = async (attempt) => {
    try { return await attempt(); } catch (error) { return "refused: " + error.name; }
  };
  const fetched = (path, options) => outcome(async () => {
    const answer = await fetch(target + path, options);
    return answer.type === "opaque" ? "opaque" : "read: " + (await answer.text());
  });
  const loaded = (tag, attribute, path) => new Promise((done) => {
    const element = document.createElement(tag);
    element.onload = () => done("read: loaded");
    element.onerror = () => done("refused");
    if (tag === "link") element.rel = "stylesheet";
    element[attribute] = target + path;
    document.body.append(element);
  });
  const live = () => new Promise((done) => {
    const source = new EventSource(target + "/v1/stream");
    source.onmessage = source.onopen = () => done("read: open");
    source.addEventListener("job", () => done("read: job"));
    source.onerror = () => { source.close(); done("refused"); };
  });
  const framed = () => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => {
      try { done("read: " + frame.contentDocument.body.innerText); } catch { done("refused"); }
    };
    frame.src = target + "/v1/jobs";
    document.body.append(frame);
  });
  const json = { method: "POST", body: '{"dataset": "digits"}' };
  const simple = { ...json, mode: "no-cors", headers: { "content-type": "text/plain" } };
  const form = new FormData();
  form.append("file", new Blob(["x"]), "x.npz");
  return {
    list: await fetched("/v1/jobs"),
    listNoCors: await fetched("/v1/jobs", { mode: "no-cors" }),
    submit: await fetched("/v1/jobs", { ...json, headers: { "content-type": "application/json" } }),
    submitSimple: await fetched("/v1/jobs", simple),
    cancel: await fetched(`/v1/jobs/${job}/cancel`, { method: "POST", mode: "no-cors" }),
    remove: await fetched(`/v1/jobs/${job}`, { method: "DELETE" }),
    upload: await fetched("/v1/datasets", { method: "POST", mode: "no-cors", body: form }),
    beacon: navigator.sendBeacon(target + `/v1/jobs/${job}/cancel`) ? "opaque" : "refused",
    live: await live(),
    frame: await framed(),
    image: await loaded("img", "src", "/static/icon.svg"),
    script: await loaded("script", "src", "/v1/jobs"),
    style: await loaded("link", "href", "/static/web/base.css"),
  };
}"""


class _Blank(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><title>evil</title><body>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def site() -> Iterator[int]:
    """The port of a server with an empty page, of whatever name the browser asks for."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Blank)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def strangers(browser: Browser) -> Iterator[Browser]:
    """A browser for which another name resolves to this machine, as after DNS rebinding."""
    path = find_chromium(browser.browser_type.executable_path)
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    stranger = browser.browser_type.launch(executable_path=path, args=[*FLAGS, rules])
    yield stranger
    stranger.close()


def visit(strangers: Browser, url: str) -> Page:
    page = strangers.new_context().new_page()
    page.goto(url)
    return page


@pytest.mark.parametrize("name", [EVIL, "localhost", "127.0.0.1"])
def test_a_page_of_another_origin_reads_and_changes_nothing(
    strangers: Browser, pages: Pages, site: int, name: str
) -> None:
    job_id = pages.submit(dataset="digits", name="a secret")
    page = visit(strangers, f"http://{name}:{site}/")
    found = page.evaluate(ATTEMPTS, [pages.url, job_id])
    page.context.close()
    assert [f"{what}: {came}" for what, came in found.items() if came.startswith("read")] == []
    nothing_changed(pages, job_id)


def test_a_form_of_another_site_submits_and_cancels_nothing(
    strangers: Browser, pages: Pages, site: int
) -> None:
    job_id = pages.submit(dataset="digits")
    for action in ("/v1/jobs", f"/v1/jobs/{job_id}/cancel", "/v1/datasets"):
        page = visit(strangers, f"http://{EVIL}:{site}/")
        with page.expect_navigation():
            page.evaluate(
                """(action) => {
                  const form = document.createElement("form");
                  Object.assign(form, { method: "POST", action, enctype: "text/plain" });
                  const field = document.createElement("input");
                  field.name = '{"dataset": "digits", "name": "';
                  field.value = '"}';
                  form.append(field);
                  document.body.append(form);
                  form.submit();
                }""",
                pages.url + action,
            )
        problem = json.loads(page.inner_text("body"))
        assert (problem["status"], problem["code"]) == (403, "other_origin")
        page.context.close()
    nothing_changed(pages, job_id)


def test_a_name_of_another_site_that_leads_here_is_not_answered(
    strangers: Browser, pages: Pages
) -> None:
    """After DNS rebinding the page is of the same origin as the server, for the browser."""
    page = visit(strangers, f"http://{EVIL}:{pages.port}/v1/jobs")
    problem = json.loads(page.inner_text("body"))
    assert (problem["status"], problem["code"]) == (400, "unknown_host")
    came = page.evaluate(
        """async () => (await fetch("/v1/jobs", { method: "POST", body: "{}",
             headers: { "content-type": "application/json" } })).status"""
    )
    assert came == 400
    page.context.close()


def test_a_link_on_another_site_still_leads_here(
    strangers: Browser, pages: Pages, site: int
) -> None:
    page = visit(strangers, f"http://{EVIL}:{site}/")
    with page.expect_navigation():
        page.evaluate("(url) => { location.href = url; }", f"{pages.url}/")
    assert page.locator("h1").count() >= 1
    page.context.close()


def nothing_changed(pages: Pages, job_id: str) -> None:
    assert pages.job(job_id)["status"] == "queued"
    listed = pages.http.get("/v1/jobs").json()["data"]
    assert listed[0]["id"] == job_id
    names = [entry["name"] for entry in pages.http.get("/v1/datasets").json()["data"]]
    assert "x" not in names
    pages.http.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
