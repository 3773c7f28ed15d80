"""The page stands alone, escapes everything that came from data, and is replaced in one step."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures import FIGURES
from analysis.report import ExplorerImage, OutputFile, Reply, ReportInput, Stage, render, write_report
from analysis.report.captions import CAPTIONS

Build = Callable[..., ReportInput]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """Tags, script bodies and visible text; fails on tags that do not match."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.text += data + " "


def explorer_json(page: Page) -> dict:
    return json.loads(page.scripts[0])


def test_needs_nothing_from_outside(report_input: Build, png: Path) -> None:
    source = render(report_input(figures={"dispersion": png}))
    page = Page(source)
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/png;base64,", "#")), (tag, address)
    assert not re.search(r"@import|url\((?!#)", source)
    assert base64.b64encode(png.read_bytes()).decode() in source


def test_only_the_own_script_may_run(report_input: Build) -> None:
    page = Page(render(report_input()))
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    runnable = [script for script in page.scripts if not script.startswith("{")]
    assert len(runnable) == 3
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in runnable]
    assert policy is not None
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert f"script-src {allowed};" in policy
    assert "default-src 'none'" in policy
    assert "img-src data:;" in policy


def test_everything_from_data_is_escaped(report_input: Build, png: Path) -> None:
    plain = report_input()
    image = plain.explorer[0]
    question = dataclasses.replace(
        image.questions[0],
        question=EVIL,
        answer=EVIL,
        task=EVIL,
        kept={(EVIL, 4): [0]},
        replies={(EVIL, 4): Reply(EVIL)},
        attention={(EVIL, 1): np.ones(16)},
    )
    content = report_input(
        model=EVIL,
        command=EVIL,
        benchmark=EVIL,
        warnings=[EVIL],
        provenance={EVIL: EVIL},
        stages=[Stage(EVIL, 1.0, EVIL)],
        files=[OutputFile(EVIL, EVIL)],
        figures={EVIL: png},
        accuracy=plain.accuracy.replace({"pruner": {"VisPruner": EVIL}, "task": {"text": EVIL}}),
        selection=plain.selection.replace({"solver": {"Greedy": EVIL}, "objective": {"MaxMin": EVIL}}),
        attention=plain.attention.replace({"metric": {"effective_tokens": EVIL}, "source": {"vision CLS": EVIL}}),
        quartiles=plain.quartiles.replace({"source": {"vision CLS": EVIL}}),
        cost=plain.cost.replace({"pruner": {"VisPruner": EVIL}}),
        differences=plain.differences.replace({"VisPruner": EVIL, "random": EVIL}),
        explorer=[ExplorerImage(EVIL, image.image, image.grid, [question])],
    )
    page = Page(render(content))
    assert [tag for tag, _ in page.tags].count("script") == 4
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert page.text.count(EVIL) > 10
    data = explorer_json(page)
    assert data["images"][0]["questions"][0]["text"] == EVIL
    assert data["pruners"][0]["label"] == EVIL
    assert data["places"][0]["label"] == EVIL


def test_without_pictures_there_is_no_explorer(report_input: Build) -> None:
    page = Page(render(report_input(explorer=[])))
    assert len(page.scripts) == 1
    assert "explorer-data" not in page.scripts[0]
    assert "explorer" not in {attributes.get("id") for _, attributes in page.tags}


def test_warnings_come_before_the_results_or_not_at_all(report_input: Build) -> None:
    source = render(report_input(warnings=["too few images"]))
    assert source.index("</header>") < source.index("too few images") < source.index('<section id="attention">')
    ids = [attributes.get("id") for tag, attributes in Page(render(report_input())).tags if tag == "section"]
    assert ids == ["attention", "selection", "accuracy", "cost", "tokens", "provenance"]


def test_numbers_carry_what_they_are_sorted_by(report_input: Build) -> None:
    page = Page(render(report_input()))
    values = [attributes["data-value"] for tag, attributes in page.tags if tag == "td" and "data-value" in attributes]
    assert {"0.8", "0.0101", "0.002", "-0.1"} <= set(values)
    assert not {"nan", "inf", "None"} & set(values)


def test_every_figure_has_a_caption_and_a_place(report_input: Build, png: Path) -> None:
    names = list(CAPTIONS)
    assert {draw.__name__ for draw in FIGURES} < set(names)
    page = Page(render(report_input(figures={name: png for name in [*names, "own_figure"]})))
    ids = [attributes["id"] for tag, attributes in page.tags if tag == "figure"]
    assert sorted(ids) == sorted(f"figure-{name}" for name in [*names, "own_figure"])
    drawn = [attributes for tag, attributes in page.tags if tag == "img"]
    assert {attributes["width"] for attributes in drawn} == {"959"}
    assert all(attributes["alt"] for attributes in drawn)


def test_written_in_one_step_and_repeatable(report_input: Build, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    path = write_report(folder, report_input())
    first = path.read_bytes()
    assert path == folder / "report.html"
    assert write_report(folder, report_input()).read_bytes() == first
    assert [entry.name for entry in folder.iterdir()] == ["report.html"]


def test_a_failing_report_leaves_the_old_one(report_input: Build, tmp_path: Path) -> None:
    old = write_report(tmp_path, report_input()).read_bytes()
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path, report_input(figures={"shift": tmp_path / "missing.png"}))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match="figure 'shift' must be a PNG file"):
        write_report(tmp_path, report_input(figures={"shift": tmp_path / "text.png"}))
    assert (tmp_path / "report.html").read_bytes() == old


def test_headline_is_looked_up(report_input: Build) -> None:
    text = " ".join(Page(render(report_input())).text.split())
    assert "90.0 % accuracy of the full model" in text
    assert "72.0 % accuracy of DivPrune best at 4 tokens, random 30.0 %" in text
    assert "1.0 % certified gap to the best selection Greedy, facility location at 4 tokens" in text
    assert "4.00 effective tokens of the CLS" in text
    assert "Total 1 min 02 s" in text


def test_headline_speaks_of_the_layer_whose_features_the_model_uses(report_input: Build) -> None:
    attention = report_input().attention
    earlier = attention[attention["source"] == "vision CLS"].assign(layer=2, estimate=7.0)
    content = report_input(attention=pd.concat([attention, earlier]), feature_layer=2)
    text = " ".join(Page(render(content)).text.split())
    assert "7.00 effective tokens of the CLS vision layer 2; last token of the text, layer 2: 9.00" in text
    assert "4.00 effective tokens of the CLS vision layer 3" in " ".join(Page(render(report_input())).text.split())


def test_content_is_checked(report_input: Build) -> None:
    plain = report_input()
    with pytest.raises(ValueError, match=r"`cost` must have the columns .* missing: kv_ratio"):
        report_input(cost=plain.cost.drop(columns="kv_ratio"))
    with pytest.raises(ValueError, match=r"`differences` must have the columns .* missing: p_corrected"):
        report_input(differences=plain.differences.drop(columns="p_corrected"))
