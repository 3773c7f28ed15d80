"""The page in a real browser: what it shows, what it answers to, and that it asks for nothing from outside."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from analysis.report import ExplorerImage, ReportInput, explorer_frame, write_report

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="the page is tested in a browser, which needs playwright: pip install playwright"
)

Build = Callable[..., ReportInput]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


class Opened:
    """A page with everything it complained about and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda request: self.requests.append(request.url))

    def role(self, name: str) -> Any:
        return self.page.locator(f"[data-role={name}]")

    def side(self, number: int) -> Any:
        return self.page.locator(".pane").nth(number)

    def pruner(self, number: int, label: str) -> None:
        self.side(number).locator("select").select_option(label=label)

    def facts(self, number: int) -> dict[str, str]:
        terms, texts = (self.side(number).locator(tag).all_inner_texts() for tag in ("dt", "dd"))
        return dict(zip(terms, texts, strict=True))

    def tokens(self, number: int) -> list[tuple[int, int, int]]:
        """Colour on the screen of each of the 4 x 4 tokens, right of and below its middle, where no mark is."""
        shot = Image.open(io.BytesIO(self.side(number).locator(".frame").screenshot())).convert("RGB")
        step = shot.width / 4
        places = [(col, row) for row in range(4) for col in range(4)]
        return [shot.getpixel((int((col + 0.7) * step), int((row + 0.75) * step))) for col, row in places]  # type: ignore[misc]

    def kept(self, number: int) -> list[int]:
        """Tokens that the screen shows in colour."""
        return [token for token, color in enumerate(self.tokens(number)) if max(color) - min(color) > 100]

    def marked(self, number: int) -> int:
        path = self.side(number).locator(".only").get_attribute("d")
        return path.count("M")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser: that of PRUNESCOPE_CHROMIUM, or one on the path."""
    named = os.environ.get("PRUNESCOPE_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on the path, and PRUNESCOPE_CHROMIUM names none")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a file, or shows markup, in a window of its own."""
    contexts = []

    def open_page(source: Path | str, **options: Any) -> Opened:
        context = chromium.new_context(**options)
        contexts.append(context)
        opened = Opened(context.new_page())
        if isinstance(source, Path):
            opened.page.goto(source.as_uri())
        else:
            opened.page.set_content(source)
        return opened

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, rich_input: ReportInput) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), rich_input)


@pytest.fixture
def opened(visit: Callable[..., Opened], report: Path) -> Iterator[Opened]:
    """The report on a desk; whatever a test does with it, nothing is complained about and nothing asked for."""
    window = visit(report)
    yield window
    assert window.complaints == []
    assert [url for url in window.requests if not url.startswith("data:")] == [report.as_uri()]
    assert window.page.evaluate("window.pwned") is None


def test_opens_with_everything_in_place(opened: Opened, report: Path) -> None:
    start = time.perf_counter()
    opened.page.reload()
    print(f"{report.stat().st_size:,} bytes in {time.perf_counter() - start:.2f} s")
    opened.requests.pop()
    assert opened.page.locator("#explorer").is_visible()
    assert opened.page.locator("#warnings li").inner_text() == "few images"
    anchors = [a.get_attribute("href") for a in opened.page.locator("nav a").all()]
    assert all(opened.page.locator(anchor).count() == 1 for anchor in anchors)


def test_shows_the_kept_tokens_of_two_pruners_side_by_side(opened: Opened) -> None:
    assert opened.kept(0) == [0, 1, 5, 15]
    assert opened.kept(1) == [1, 3, 4, 9]
    boxes = [opened.side(number).locator(".frame").bounding_box() for number in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert opened.facts(0) == {"Kept": "4 of 16", "Shared": "1, 3 on this side only", "Needed": "1 of 2 kept"}
    assert opened.facts(1)["Needed"] == "0 of 2 kept"


def test_pruner_budget_and_image_change_the_picture(opened: Opened) -> None:
    opened.pruner(0, "FastV")
    assert opened.kept(0) == [0, 2, 5, 15]
    opened.page.get_by_label("8", exact=True).check()
    assert opened.facts(0)["Kept"] == "not run at this budget"
    assert opened.kept(0) == []
    assert opened.kept(1) == [4, 5, 6, 7, 8, 9, 10, 11]
    opened.pruner(0, "Full model")
    assert opened.kept(0) == list(range(16))
    opened.page.get_by_label("4", exact=True).check()
    opened.pruner(0, "VisPruner")
    opened.role("image").select_option(index=1)
    assert opened.kept(0) == [12, 13, 14, 15]
    red, _, blue = opened.tokens(0)[15]
    assert blue > 2 * red


def test_a_reply_is_right_where_the_benchmark_says_so(opened: Opened) -> None:
    assert opened.side(0).locator(".verdict").inner_text() == "Yes.✓ right"
    assert opened.side(1).locator(".verdict").inner_text() == "yes✗ wrong"
    assert "Truth: yes · Full model: yes✓ right" in opened.role("truth").inner_text()
    opened.page.get_by_label("8", exact=True).check()
    assert opened.side(0).locator(".verdict").inner_text() == "(nothing)✗ wrong"
    assert opened.side(1).locator(".verdict").inner_text() == "not recorded"


def test_differences_are_marked_on_demand(opened: Opened) -> None:
    assert [opened.marked(side) for side in (0, 1)] == [3, 3]
    opened.pruner(1, "Full model")
    assert [opened.marked(side) for side in (0, 1)] == [0, 12]
    opened.page.get_by_label("Mark differences").uncheck()
    assert [opened.marked(side) for side in (0, 1)] == [0, 0]


def test_attention_lies_over_the_picture(opened: Opened) -> None:
    assert opened.role("scale").is_hidden()
    opened.role("place").select_option(label="Vision CLS, layer 1")
    colors = opened.tokens(1)  # in grey now, and the weights fall from the first token to the last
    assert opened.role("scale").is_visible()
    warmth = [color[0] - color[2] for color in colors]
    assert warmth[0] == max(warmth)
    assert warmth[0] > 100
    assert warmth[15] < 20
    assert opened.facts(0)["Attention"] == "32 % of it on the kept; largest weight 12 %"
    opened.role("place").select_option(label="Text, last token, layer 3")
    warmth = [color[0] - color[2] for color in opened.tokens(1)]
    assert max(range(16), key=warmth.__getitem__) == 2
    opened.role("place").select_option(label="not shown")
    assert opened.kept(0) == [0, 1, 5, 15]


def test_a_pruner_inside_shows_what_each_layer_has(opened: Opened) -> None:
    opened.pruner(0, "FastV")
    assert opened.facts(0)["By layer"] == "16 up to layer 1, then 8 up to layer 2, then 4"
    assert "By layer" not in opened.facts(1)
    counts = []
    for layer in (1, 2, 3):
        opened.role("place").select_option(label=f"Text, last token, layer {layer}")
        counts.append((opened.facts(0)["Kept"], opened.facts(1)["Kept"]))
    assert counts == [("16 of 16", "4 of 16"), ("8 of 16", "4 of 16"), ("4 of 16", "4 of 16")]


def test_the_pictures_answer_to_the_keyboard(opened: Opened) -> None:
    page = opened.page
    opened.role("differences").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "panes"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowUp")
    assert opened.facts(0)["Kept"] == "8 of 16"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert opened.facts(0)["Kept"] == "4 of 16"
    page.keyboard.press("x")
    assert opened.kept(0) == [1, 3, 4, 9]
    page.keyboard.press("x")
    page.keyboard.press("d")
    assert opened.marked(0) == 0
    page.keyboard.press("Shift+N")
    assert opened.side(1).locator("select option:checked").inner_text() == "VisPruner"
    page.keyboard.press("]")
    assert opened.role("place").locator("option:checked").inner_text() == "Vision CLS, layer 1"
    page.keyboard.press("[")
    page.keyboard.press("ArrowRight")
    assert opened.kept(0) == [2, 3, 4, 6]
    page.keyboard.press("Shift+ArrowRight")
    assert opened.role("asked").inner_text() == "what colour ?"
    assert "VisPruner keeps 4" in opened.role("status").inner_text()


def test_keys_of_a_menu_stay_with_the_menu(opened: Opened) -> None:
    opened.side(0).locator("select").focus()
    opened.page.keyboard.press("ArrowUp")
    opened.page.keyboard.press("d")
    assert opened.facts(1)["Kept"] == "4 of 16"
    assert opened.role("differences").is_checked()


def test_pointing_at_a_token_names_it(opened: Opened) -> None:
    opened.role("place").select_option(label="Vision CLS, layer 1")
    frame = opened.side(0).locator(".frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    opened.page.mouse.move(box["x"] + 1.5 * box["width"] / 4, box["y"] + 1.5 * box["height"] / 4)
    text = opened.role("readout").inner_text()
    assert text == "Token 5, row 2, column 2: VisPruner keeps it, Random drops it, attention 8.1 %"
    cursor = opened.side(1).locator(".cursor")
    assert [cursor.get_attribute(name) for name in ("x", "y", "visibility")] == ["1", "1", "visible"]
    opened.page.mouse.move(2, 2)
    assert opened.role("readout").inner_text() == ""


def test_hostile_text_is_shown_as_text(opened: Opened, evil: str) -> None:
    opened.role("question").select_option(index=1)
    assert opened.role("asked").inner_text() == evil
    assert opened.side(0).locator(".verdict").inner_text() == f"{evil}✗ wrong"
    assert opened.role("truth").inner_text().startswith(f"Truth: {evil} · Full model: not recorded")
    assert evil in opened.role("question").inner_text()
    opened.role("image").select_option(label=evil)
    assert opened.side(0).locator("svg[role=img]").get_attribute("aria-label").startswith(evil)
    assert opened.page.locator("#explorer img, #explorer script").count() == 0


def test_tables_sort_by_a_column_and_back(opened: Opened) -> None:
    table = opened.page.locator("table", has_text="Selections of 4 tokens")
    names = table.locator("tbody th")
    heads = table.locator("thead tr").last.locator("th")
    name, gap, value = heads.first, heads.nth(2), heads.nth(4)
    before = names.all_inner_texts()
    assert before == ["Exact", "Greedy", "VisPruner"]
    assert gap.get_attribute("aria-sort") == "none"
    gap.get_by_role("button").press("Enter")
    assert names.all_inner_texts() == ["Exact", "Greedy", "VisPruner"]
    assert gap.get_attribute("aria-sort") == "ascending"
    gap.get_by_role("button").click()
    assert names.all_inner_texts() == ["VisPruner", "Greedy", "Exact"]
    assert gap.get_attribute("aria-sort") == "descending"
    for order in ("ascending", "descending"):  # the other two have no value: last either way, as they came
        value.get_by_role("button").click()
        assert value.get_attribute("aria-sort") == order
        assert names.all_inner_texts() == ["Greedy", "Exact", "VisPruner"]
    assert gap.get_attribute("aria-sort") == "none"
    value.get_by_role("button").click()
    assert names.all_inner_texts() == before
    name.get_by_role("button").click()
    name.get_by_role("button").click()
    assert names.all_inner_texts() == ["VisPruner", "Greedy", "Exact"]


CONTRASTS = """() => {
  document.querySelectorAll("details").forEach((node) => { node.open = true; });
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [r, g, b] = color.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
    const pair = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    found.push([(pair[0] + 0.05) / (pair[1] + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colours(visit: Callable[..., Opened], report: Path, scheme: str) -> None:
    window = visit(report, color_scheme=scheme)
    paper = window.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    contrasts = window.page.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert [entry for entry in contrasts if entry[0] < 4.5] == []


def test_colours_can_be_switched_and_are_remembered(visit: Callable[..., Opened], report: Path) -> None:
    window = visit(report, color_scheme="dark")
    button = window.page.locator("#theme")
    paper = "getComputedStyle(document.body).backgroundColor"
    assert button.get_attribute("aria-label") == "Switch to light colours"
    button.click()
    assert window.page.evaluate(paper) == "rgb(255, 255, 255)"
    assert [entry for entry in window.page.evaluate(CONTRASTS) if entry[0] < 4.5] == []
    window.page.reload()
    assert window.page.evaluate(paper) == "rgb(255, 255, 255)"
    button.click()
    assert window.page.evaluate(paper) != "rgb(255, 255, 255)"


def test_a_phone_scrolls_down_only(visit: Callable[..., Opened], report: Path) -> None:
    window = visit(report, viewport={"width": 360, "height": 780}, has_touch=True, is_mobile=True)
    window.page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert window.page.evaluate("document.documentElement.scrollWidth") == 360
    assert window.page.evaluate("visualViewport.scale") == 1
    for control in window.page.locator("#explorer select, #explorer .frame, #theme").all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    box = window.side(0).locator(".frame").bounding_box()
    assert box["width"] > 240
    window.side(0).locator(".frame").tap(position={"x": box["width"] / 8, "y": box["width"] / 8})
    assert window.role("readout").inner_text().startswith("Token 0, row 1, column 1")
    assert window.complaints == []


def test_the_browser_refuses_what_is_not_in_the_page(visit: Callable[..., Opened], report: Path) -> None:
    window = visit(report)
    refused = window.page.evaluate(
        """async () => {
          const seen = [];
          document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
          await fetch("https://example.invalid/").catch(() => {});
          document.body.append(Object.assign(new Image(), { src: "https://example.invalid/a.png" }));
          document.body.append(Object.assign(document.createElement("script"), { textContent: "window.pwned = 1" }));
          await new Promise((done) => setTimeout(done, 50));
          return seen;
        }"""
    )
    assert sorted(refused) == ["connect-src", "img-src", "script-src-elem"]
    assert window.page.evaluate("window.pwned") is None


def test_the_notebook_frame_is_the_same_explorer(
    visit: Callable[..., Opened], rich_input: ReportInput, evil: str
) -> None:
    window = visit(f"<!doctype html><body>{explorer_frame(rich_input.explorer)._repr_html_()}</body>")
    frame = window.page.frame_locator("iframe")
    frame.locator("#explorer").wait_for()
    frame.locator("[data-role=question]").select_option(index=1)
    assert frame.locator("[data-role=asked]").inner_text() == evil
    assert frame.locator(".pane dd").first.inner_text() == "4 of 16"
    assert window.complaints == []


def test_a_single_choice_needs_no_second_pruner(
    visit: Callable[..., Opened], explored_images: list[ExplorerImage], report_input: Build, tmp_path: Path
) -> None:
    alone = dataclasses.replace(explored_images[1], name="image 9")
    window = visit(write_report(tmp_path, report_input(explorer=[alone])))
    assert window.kept(0) == [12, 13, 14, 15]
    assert window.kept(1) == list(range(16))
    assert window.role("place").is_hidden()
    assert window.complaints == []
