"""Pages of reports and model summaries in headless Chromium: what they show, that they sort, fetch nothing, and fit a phone."""

import json
import os
import pathlib
import re
import stat
import subprocess
import time

import pytest
from conftest import BIN, lathe
from playwright.sync_api import sync_playwright
from rich_report import HOSTILE, rich_report, rich_summary

TOOL = os.environ.get("LATHE_TEST_TOOL", BIN / "lathe_test_tool")
CHROMIUM = os.environ.get("LATHE_CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Opens a file; at the end of the test the page must not have complained, nor asked for anything but itself."""
    opened, complaints, requests = [], [], []

    def go(path, width=1180, scheme="light", javascript=True):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=javascript)
        page = context.new_page()
        # Nothing is timed here: a busy machine may take its time over a page of 2,000 layers.
        page.set_default_timeout(240_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append("dialog: " + dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(pathlib.Path(path).as_uri())
        opened.append((context, pathlib.Path(path).as_uri()))
        return page

    yield go
    for context, _ in opened:
        context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {url for _, url in opened}


def made(folder, name, value):
    source, page = folder / f"{name}.json", folder / f"{name}.html"
    source.write_text(json.dumps(value))
    page.write_bytes(subprocess.run([TOOL, "page", source], check=True, capture_output=True).stdout)
    return page


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return made(tmp_path_factory.mktemp("rich"), "report", rich_report())


def text_of(page, selector):
    return page.locator(selector).inner_text().replace("\u00a0", " ")


def column(page, table, title):
    """The texts of a column, top to bottom."""
    heads = [h.strip() for h in page.locator(f"{table} thead th").all_inner_texts()]
    at = heads.index(title) + 1
    return page.locator(f"{table} tbody tr > :nth-child({at})").all_inner_texts()


def test_a_real_report_shows_the_numbers_of_its_json(digits_model, tmp_path, visit):
    report, page_file = tmp_path / "report.json", tmp_path / "report.html"
    run = lathe("compress", digits_model, "-o", tmp_path / "small.onnx", "--report", report, "--html", page_file,
                "--step", "quantize_weights:bits=4", env={"LATHE_SERVER": "", "TMPDIR": str(tmp_path)})
    assert f"wrote {page_file}" in run.stdout
    value = json.loads(report.read_text())
    page = visit(page_file)
    assert "digits.onnx" in page.title()
    for key in ("file_bytes", "parameters", "macs", "bytes_moved"):
        card = text_of(page, f'[data-key="{key}"]')
        for side in ("before", "after"):
            assert f"{value[side][key]:,}" in card, (key, card)
    names = column(page, "#layers", "Layer")
    assert sorted(names) == sorted(layer["name"] for layer in value["layers"])
    assert f"{value['layers'][0]['bytes_after']:,}" in column(page, "#layers", "Bytes after")
    assert "quantize_weights:" in text_of(page, "#recipe-text") and "bits: 4" in text_of(page, "#recipe-text")
    assert column(page, "#operator-costs", "Operator") == sorted(value["before"]["bytes_moved_by_op"])
    assert page.locator("#weights figure").count() == len(value["layers"])
    assert value["build_id"] in text_of(page, "#inputs")
    assert value["inputs"]["files"][0]["sha256"] in text_of(page, "#inputs")
    # The advice of the report is on the page and in the text.
    for sentence in value["advice"]:
        assert sentence in text_of(page, "#next") and sentence in run.stdout
    assert not re.search(r"\b(NaN|nan|undefined|null|inf)\b", page.locator("body").inner_text())


def test_every_optional_part_is_shown(rich, visit):
    value, page = rich_report(), visit(rich)
    for section in ("summary", "constraints", "next", "size", "error", "evaluation", "confusion", "tradeoff", "weights", "activations",
                    "latency", "cost", "recipe", "notes", "inputs"):
        assert page.locator(f"section#{section}").is_visible(), section
    accuracy = text_of(page, '[data-key="main_metric"]')
    assert "97.14 %" in accuracy and "96.72 %" in accuracy and "95.91 % to 98.01 %" in accuracy
    assert value["evaluation"]["significance"] in accuracy
    assert "18.3 dB" in text_of(page, '[data-key="fidelity"]')
    assert "12.4 ms" in text_of(page, '[data-key="latency_ms"]') and "13.1 ms" in text_of(page, '[data-key="latency_ms"]')
    assert "1,605,632" in text_of(page, '[data-key="peak_activation_bytes"]')
    assert "not met" in text_of(page, "#constraints-table")
    assert "layer 'x' gives infinite values" in text_of(page, ".warnings")
    assert "block7" in text_of(page, "#next") and "9.1 dB at 4 bits" in text_of(page, "#next")
    assert page.locator("#weights figure svg path").count() == 2 * len(value["layers"])
    assert page.locator("#tradeoff circle").count() == len(value["trace"]) + len(value["tried"])
    assert page.locator("#tradeoff line.way").count() == len(value["trace"]) - 1
    assert text_of(page, "#tradeoff h2") == "Accuracy against size"
    assert column(page, "#tried", "Model")[:3] == ["original", "1. prune_weights", "2. quantize_weights"]
    assert column(page, "#operator-costs", "Operator") == ["Conv", "Gemm", "Relu"]
    assert len(column(page, "#layer-costs", "Layer")) == len(value["layers"])
    assert "18446744073709551615" in text_of(page, "#inputs") and "18446744073709551615" in text_of(page, "#recipe-text")
    for side in ("before", "after"):
        cells = page.locator(f"#confusion-{side} tbody td").all_inner_texts()
        assert [int(cell) for cell in cells] == [n for row in value["evaluation"][side]["confusion_matrix"] for n in row]


def test_tables_sort_by_mouse_and_keyboard_and_keep_what_is_unknown_last(rich, visit):
    page = visit(rich)
    head = page.locator("#layers thead th", has_text="Bytes after")
    assert column(page, "#layers", "Layer")[0] == "/features/block7/matmul/weight"  # 9.14 dB: the worst comes first
    head.get_by_role("button").click()
    sizes = [int(text.replace(",", "")) for text in column(page, "#layers", "Bytes after")]
    assert sizes == sorted(sizes, reverse=True) and head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    sizes = [int(text.replace(",", "")) for text in column(page, "#layers", "Bytes after")]
    assert sizes == sorted(sizes) and head.get_attribute("aria-sort") == "ascending"
    assert page.locator("#layers thead th[aria-sort]").count() == 1
    rank = page.locator("#layers thead th", has_text="Rank").get_by_role("button")
    for _ in range(2):
        rank.click()
        assert column(page, "#layers", "Rank")[0] == "16"


def test_hostile_names_are_text(rich, tmp_path, visit):
    for path in (rich, made(tmp_path, "model", rich_summary())):
        page = visit(path)
        assert page.locator("img").count() == 0 and page.locator("script").count() == 2
        assert HOSTILE in page.locator("#layers tbody th").all_text_contents()
        assert json.loads(page.locator("#data").text_content())["layers"]


def contrast(one, other):
    def luminance(color):
        parts = [int(c) / 255 for c in re.findall(r"\d+", color)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(rich, visit, scheme):
    page = visit(rich, scheme=scheme)
    css = """(selector) => { const e = document.querySelector(selector); let b = e;
      while (getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
      return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor]; }"""
    for selector in ("h1", ".verdict", ".hint", "nav a", ".card .old", ".card .more", "#layers td", "caption", ".good", ".bad",
                     ".warnings li", "footer p", "#layers thead button", "pre", ".axis span"):
        text, behind = page.evaluate(css, selector)
        assert contrast(text, behind) >= 4.5, (selector, text, behind)


def test_dark_follows_the_system_and_the_button(rich, visit):
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = visit(rich), visit(rich, scheme="dark")
    colours = light.evaluate(background), dark.evaluate(background)
    assert colours[0] != colours[1]
    light.get_by_role("button", name="Dark").click()
    dark.get_by_role("button", name="Light").click()
    assert (light.evaluate(background), dark.evaluate(background)) == colours[::-1]


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_makes_the_page_scroll_sideways(rich, tmp_path, visit, width):
    for path in (rich, made(tmp_path, "model", rich_summary()), made(tmp_path, "large", rich_report(300, 30))):
        page = visit(path, width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        inside = page.locator("#layers").evaluate("e => e.parentElement.scrollWidth > e.parentElement.clientWidth")
        assert inside  # it scrolls in its box


def test_without_scripts_all_is_there(rich, visit):
    page = visit(rich, javascript=False)
    assert page.locator("#layers tbody tr").count() == len(rich_report()["layers"])
    assert not page.locator("#theme").is_visible() and not page.locator(".copy").first.is_visible()


def test_the_recipe_is_copied_and_the_json_given_back(rich, visit):
    page = visit(rich)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".copy").click()
    page.locator(".copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#recipe-text").text_content()
    with page.expect_download() as download:
        page.locator("#save").click()
    assert json.loads(pathlib.Path(download.value.path()).read_text()) == rich_report()


def test_large_models_have_every_layer_in_the_table_and_few_in_the_chart(tmp_path, visit):
    page = visit(made(tmp_path, "large", rich_report(2000, 30)))
    assert page.locator("#layers tbody tr").count() == 2000
    assert page.locator("#size .bars li").count() == 31
    assert "the other 1,970 together" in text_of(page, "#size")
    page.locator("input[data-table=layers]").fill("block1234/")
    assert page.locator("#layers tbody tr:visible").count() == 1


def test_an_inspection_is_a_page_too(server, digits_model, tmp_path, visit):
    out = tmp_path / "model.html"
    summary = json.loads(server.lathe("--json", "inspect", digits_model, "--html", out).stdout)
    page = visit(out)
    assert f"{summary['parameters']:,}" in text_of(page, '[data-key="parameters"]')
    assert column(page, "#layers", "Layer") == [layer["name"] for layer in summary["layers"]]
    assert column(page, "#operator-costs", "Operator") == sorted(summary["bytes_moved_by_op"])
    assert "pixels" in column(page, "#values", "Name") and "Gemm" in text_of(page, "#ops")


def test_report_opens_its_page_with_the_browser_that_is_named(server, digits_model, tmp_path):
    model = server.lathe("upload", digits_model).stdout.strip()
    job = server.lathe("submit", model, "--step", "fp16").stdout.strip()
    server.lathe("wait", job)
    seen, browser, page = tmp_path / "seen", tmp_path / "browser", tmp_path / "my report.html"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.new && mv {seen}.new {seen}\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    command = ["--server", server.address, "report", job, "--html", page, "--open"]
    run = lathe(*command, env={"BROWSER": f"/no/such/browser:{browser}"})
    assert f"wrote {page}" in run.stdout
    deadline = time.monotonic() + 20
    while not seen.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert seen.read_text() == page.as_uri()
    page.unlink()
    nothing = lathe(*command, env={"BROWSER": "/no/such/browser"}, check=False)
    assert nothing.returncode == 1 and "/no/such/browser" in nothing.stderr and page.exists()
    alone = server.lathe("report", job, "--open", check=False)
    assert alone.returncode == 2 and "--html" in alone.stderr
    nowhere = server.lathe("report", job, "--html", tmp_path / "no" / "such" / "folder.html", check=False)
    assert nowhere.returncode == 1 and "cannot write" in nowhere.stderr
