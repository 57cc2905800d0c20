"""The page in a real browser, without network: a unit is selected and the text is recoloured.

A script put behind the page does what a person does and writes down what it sees; headless Chromium prints the page
that comes of it. UNROLLED_BROWSER names the browser; ``required`` makes its absence a failure.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess

import pytest

from tests.inspect.subjects import quoted_text, subject
from unrolled.inspect.page import render
from unrolled.inspect.sections_units import section_units

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TEXT = quoted_text(600)


def find_browser() -> str | None:
    asked = os.environ.get("UNROLLED_BROWSER", "")
    if asked not in ("", "required"):
        return shutil.which(asked)
    return next((path for name in NAMES if (path := shutil.which(name))), None)


BROWSER = find_browser()
pytestmark = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("UNROLLED_BROWSER"),
    reason=f"no browser: none of {', '.join(NAMES)} is installed, and UNROLLED_BROWSER names none",
)


def look(tmp_path, page: str, script: str, fragment: str = "") -> dict:
    """What ``script`` leaves in ``seen`` after the page's own scripts have run."""
    assert BROWSER is not None, "UNROLLED_BROWSER is set and no browser was found: install chromium"
    probe = (
        "<script>const seen = {errors: []}; window.onerror = function (m) { seen.errors.push(m); };</script>",
        f"<script>{script}; const out = document.createElement('pre'); out.id = 'seen';"
        "out.textContent = JSON.stringify(seen); document.body.appendChild(out);</script></body>",
    )
    path = tmp_path / "page.html"
    path.write_text(page.replace("<header>", probe[0] + "<header>").replace("</body>", probe[1]), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1000,900", "--dump-dom",
               f"{path.as_uri()}{fragment}"]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=True)
    found = re.search(r'<pre id="seen">(.*?)</pre>', run.stdout, re.DOTALL)
    assert found, run.stderr
    seen: dict = json.loads(html.unescape(found[1]))
    assert seen["errors"] == []
    return seen


@pytest.fixture(scope="module")
def page() -> str:
    import torch

    torch.manual_seed(0)
    return render("A page", ["made for a test"], [[section_units(subject(TEXT), ["quotes"])]])


COLOURS = "Array.from(document.querySelectorAll('.u'), s => getComputedStyle(s).backgroundColor)"


def test_selecting_a_unit_recolours_the_text(tmp_path, page):
    seen = look(
        tmp_path,
        page,
        f"""const select = document.querySelector('select#unit');
        seen.text = Array.from(document.querySelectorAll('.u[data-k]'), s => s.textContent).join('');
        seen.before = {COLOURS}; seen.first = select.value;
        select.value = select.options[select.options.length - 1].value;
        select.dispatchEvent(new Event('change'));
        seen.after = {COLOURS}; seen.last = select.value;
        seen.named = document.querySelector('.legend').textContent;
        seen.requests = performance.getEntriesByType('resource').length""",
    )
    assert seen["first"] != seen["last"]
    assert seen["named"].startswith(seen["last"] + ":")
    changed = sum(a != b for a, b in zip(seen["before"], seen["after"], strict=True))
    assert len(seen["before"]) == len(TEXT)
    assert changed > 0.9 * len(TEXT)
    assert len(set(seen["after"])) > 20  # shades, not one colour
    assert seen["text"].replace("⏎", "").replace("\n", "") == TEXT.replace("\n", "")
    assert seen["requests"] == 0


def test_a_colour_is_what_the_unit_did(tmp_path, page):
    """Orange where the unit is positive and blue where it is negative, after the fragment chose it."""
    one = subject(TEXT)
    from unrolled.inspect import read

    values = read(one.model, one.text.ids).states["h0"][:, 5]
    seen = look(tmp_path, page, f"seen.colours = {COLOURS}; seen.unit = document.querySelector('select#unit').value",
                "#unit=h0.5")  # fmt: skip
    assert seen["unit"] == "h0.5"
    for value, colour in zip(values, seen["colours"], strict=True):
        if abs(value) > 0.02 * abs(values).max():
            assert colour.startswith("rgba(217, 115, 13" if value > 0 else "rgba(31, 95, 168"), (value, colour)


def test_places_tell_what_comes_next_and_where_it_is_alike(tmp_path, page):
    seen = look(
        tmp_path,
        page,
        """const spans = document.querySelectorAll('.u');
        spans[200].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
        seen.hovered = document.querySelector('.detail').textContent;
        seen.columns = document.querySelectorAll('.strip > div').length;
        seen.rows = document.querySelector('.strip > div').children.length;
        spans[300].dispatchEvent(new MouseEvent('mouseup', {bubbles: true}));
        seen.found = document.querySelectorAll('.found button').length;
        const first = document.querySelector('.found button'); seen.to = first.dataset.to; first.click();
        seen.moved = document.querySelector('.detail').textContent;
        const text = document.querySelector('.text');
        text.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));
        seen.next = document.querySelector('.detail').textContent;
        const range = document.createRange(); range.setStart(spans[400].firstChild, 0);
        range.setEnd(spans[410].firstChild, 1); getSelection().removeAllRanges(); getSelection().addRange(range);
        spans[410].dispatchEvent(new MouseEvent('mouseup', {bubbles: true}));
        seen.span = document.querySelector('.u.at').dataset.k""",
    )
    assert re.match(r"Unit 200, .*: [hc]0\.\d+ = .*Next: (\S+ [01]\.\d\d(, )?){5}$", seen["hovered"])
    assert (seen["columns"], seen["rows"]) == (40, 6)
    assert seen["found"] == 5
    assert seen["moved"].startswith(f"Unit {seen['to']},")
    assert seen["next"].startswith(f"Unit {int(seen['to']) + 1},")
    assert seen["span"] == "410"


def test_a_name_that_is_not_on_the_page_is_said_to_be_missing(tmp_path, page):
    seen = look(
        tmp_path,
        page,
        """const name = document.querySelector('input.unit-name');
        seen.before = document.querySelector('#view').dataset.unit;
        name.value = 'h9.9'; name.dispatchEvent(new Event('change'));
        seen.legend = document.querySelector('.legend').textContent;
        seen.after = document.querySelector('#view').dataset.unit""",
        "#unit=h7.7",
    )
    assert seen["legend"].startswith("h9.9 is not among the ")
    assert seen["before"] == seen["after"] != ""


def test_two_views_are_coloured_apart(tmp_path):
    section = section_units(subject(TEXT), ["quotes"], beside=subject(TEXT[:550], name="other"))
    seen = look(
        tmp_path,
        render("Two", [], [[section]]),
        f"""const left = document.querySelector('select#unit');
        seen.before = {COLOURS};
        left.value = left.options[left.options.length - 1].value; left.dispatchEvent(new Event('change'));
        seen.after = {COLOURS}""",
    )
    assert seen["before"][len(TEXT) :] == seen["after"][len(TEXT) :]
    assert seen["before"][: len(TEXT)] != seen["after"][: len(TEXT)]
