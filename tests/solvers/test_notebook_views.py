"""What Jupyter shows: the facts, escaped, and pictures of signals with one square per token."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from solvers import Exact, FacilityLocation, Greedy, Problem, Solution, Status
from solvers.notebook_views import CELL, SHADES

HOSTILE = "<script>alert('x')</script>&"


def squares(page: str) -> list[np.ndarray]:
    """Pictures of a page, one pixel per token [row, column, rgb]."""
    found = []
    for text in re.findall(r"data:image/png;base64,([\w+/=]+)", page):
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            found.append(np.asarray(picture.convert("RGB"))[CELL // 2 :: CELL, CELL // 2 :: CELL])
    return found


class TestProblem:
    def test_says_what_it_is(self):
        problem = Problem.from_features(np.eye(6), 2, signals={"cls": np.arange(6.0)}, grid=(2, 3), id="six")
        page = problem._repr_html_()
        assert "six" in page
        assert "6 (2 × 3), features of 6 numbers, cosine" in page
        assert "2 (33.3%)" in page
        assert "Cardinality()" in page
        assert "cls [6]" in page

    def test_each_signal_is_a_picture_from_light_to_dark(self):
        signals = {"cls": np.arange(6.0), "relevance": np.ones(6), "attention_map": np.eye(6)}
        page = Problem.from_features(np.eye(6), 2, signals=signals, grid=(2, 3))._repr_html_()
        cls, constant = squares(page)  # a map has no picture
        assert cls.shape == constant.shape == (2, 3, 3)
        assert cls[0, 0].tolist() == SHADES[0].tolist()
        assert cls[1, 2].tolist() == SHADES[1].tolist()
        assert (np.diff(cls.reshape(6, 3).astype(int), axis=0) < 0).all()
        assert (constant == SHADES[0]).all()

    def test_without_grid_or_signals_there_is_no_picture(self):
        page = Problem.from_similarity(np.eye(4), 2, groups=[0, 0, 1, 1])._repr_html_()
        assert squares(page) == []
        assert "similarity" in page
        assert "<th>groups</th><td>2</td>" in page
        assert "<th>signals</th><td>none</td>" in page

    def test_is_escaped(self):
        page = Problem.from_features(np.eye(4), 2, signals={HOSTILE: np.ones(4)}, grid=(2, 2), id=HOSTILE)._repr_html_()
        assert "<script" not in page
        assert page.count("&lt;script&gt;") == 3  # the id, and the signal in the table and below its picture


class TestSolution:
    @pytest.fixture
    def problem(self) -> Problem:
        return Problem.from_features(np.random.default_rng(0).normal(size=(12, 4)), 3)

    def test_the_bar_is_full_where_the_gap_is_closed(self, problem: Problem):
        page = Exact().solve(problem, FacilityLocation())._repr_html_()
        assert '<progress value="1.000000" max="1"' in page
        assert Status.OPTIMAL.value in page

    def test_the_bar_is_the_share_that_is_certain(self, problem: Problem):
        solution = replace(Greedy().solve(problem, FacilityLocation()), value=8.0, upper_bound=10.0)
        page = solution._repr_html_()
        assert '<progress value="0.750000" max="1"' in page
        assert "2 (25.0000% of the value)" in page

    def test_without_a_bound_there_is_no_bar(self, problem: Problem):
        page = Greedy().solve(problem, FacilityLocation())._repr_html_()
        assert "none known" in page
        assert "<progress" not in page

    def test_in_a_terminal_it_is_one_line(self):
        solution = Solution(np.arange(3), 2.5, 3.0, Status.FEASIBLE, 0.1, 4)
        assert repr(solution) == "Solution(2.5 <= 3, 3 tokens, feasible)"
        assert repr(replace(solution, upper_bound=math.inf)) == "Solution(2.5, 3 tokens, feasible)"
