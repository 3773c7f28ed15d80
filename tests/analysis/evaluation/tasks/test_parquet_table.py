"""Tables in several parquet files: which files, which rows, which pictures, and how little of them is in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.evaluation.tasks.parquet_table import IMAGE, ParquetTable, shards

Write = Callable[..., Path]


@pytest.fixture
def rows(png: Callable[[int], bytes]) -> list[dict[str, Any]]:
    """Seven rows, the fourth without a picture."""
    return [{"id": number, "word": f"w{number}", "image": None if number == 3 else png(number)} for number in range(7)]


def test_shards_are_found_in_order(rows: list[dict[str, Any]], write_shards: Write) -> None:
    folder = write_shards(rows, "hub/data/test", shards=3)
    write_shards(rows, "hub/data/testdev", shards=1)
    names = [f"test-{number:05d}-of-00003.parquet" for number in range(3)]
    assert [path.name for path in shards(folder, "test")] == names
    assert shards(folder.parent, "test") == shards(folder, "test")
    assert [path.name for path in shards(folder, "testdev")] == ["testdev-00000-of-00001.parquet"]
    assert shards(folder, "validation") == ()
    assert shards(folder / "nothing", "test") == ()
    assert shards(folder / "any name.parquet", "test") == (folder / "any name.parquet",)


def test_a_split_without_numbers(rows: list[dict[str, Any]], write_shards: Write) -> None:
    folder = write_shards(rows, "test", shards=1)
    next(folder.glob("*.parquet")).rename(folder / "test.parquet")
    assert shards(folder, "test") == (folder / "test.parquet",)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_shard_is_told(rows: list[dict[str, Any]], write_shards: Write, lost: int) -> None:
    folder = write_shards(rows, "test", shards=3)
    (folder / f"test-{lost:05d}-of-00003.parquet").unlink()
    with pytest.raises(ValueError, match="must hold each of 3 shards once, got test-0000"):
        shards(folder, "test")


def test_a_shard_of_another_version_is_told(rows: list[dict[str, Any]], write_shards: Write) -> None:
    folder = write_shards(rows, "test", shards=2)
    write_shards(rows, "test", shards=1)
    with pytest.raises(ValueError, match=r"must hold each of \d shards once"):
        shards(folder, "test")


@pytest.mark.parametrize(("parts", "group"), [(1, 100), (1, 2), (2, 3), (3, 1)])
def test_rows_and_pictures_count_over_all_files(
    rows: list[dict[str, Any]], write_shards: Write, parts: int, group: int
) -> None:
    table = ParquetTable(shards(write_shards(rows, "test", shards=parts, group=group), "test"), ("id", IMAGE))
    assert len(table) == 7
    assert [(row, record) for row, _, record in table.rows()] == [(number, {"id": number}) for number in range(7)]
    assert [where.split(" of ")[0] for _, where, _ in table.rows()] == [f"row {number}" for number in range(7)]
    assert list(dict.fromkeys(where.split(" of ")[1] for _, where, _ in table.rows())) == list(map(str, table.files))
    for number in (6, 0, 5, 1, 2, 4):
        assert table.picture(number) == rows[number]["image"]
    assert [digest is None for digest in table.digests] == [number == 3 for number in range(7)]
    assert len(set(table.digests)) == 7
    with pytest.raises(ValueError, match=r"row 3 of .*\.parquet holds no picture"):
        table.picture(3)


def test_each_row_group_of_pictures_is_read_once(
    rows: list[dict[str, Any]], write_shards: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = shards(write_shards(rows, "test", shards=2, group=2), "test")
    table = ParquetTable(files, ("id", IMAGE), ("word",))
    read: list[tuple[int, tuple[str, ...]]] = []
    stock = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        read.append((number, tuple(columns)))
        return stock(self, number, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    for number in (0, 1, 2, 4, 5, 6):
        table.picture(number)
    assert read == [(0, (IMAGE,)), (1, (IMAGE,)), (0, (IMAGE,)), (1, (IMAGE,))]
    read.clear()
    assert len(list(table.rows())) == 7
    assert [columns for _, columns in read] == [("id", "word")] * 4


def test_optional_columns_may_be_absent(rows: list[dict[str, Any]], write_shards: Write) -> None:
    files = shards(write_shards(rows, "test"), "test")
    assert next(ParquetTable(files, ("id",), ("word", "hint")).rows())[2] == {"id": 0, "word": "w0"}


def test_plain_bytes_are_pictures_too(tmp_path: Path, png: Callable[[int], bytes]) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": [png(1), png(2)]}), path)
    assert ParquetTable((path,), (IMAGE,)).picture(1) == png(2)


def test_refusals(tmp_path: Path, rows: list[dict[str, Any]], write_shards: Write) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no parquet file at .*none\.parquet"):
        ParquetTable((tmp_path / "none.parquet",), ("id",))
    (file,) = shards(write_shards(rows, "test", shards=1), "test")
    with pytest.raises(ValueError, match=r"\.parquet lacks the column\(s\) a, b; it has \['id', 'word', 'image'\]"):
        ParquetTable((file,), ("a", "id", "b"))
    texts = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"image": ["x.png"]}), texts)
    with pytest.raises(ValueError, match=r"column 'image' of .* must hold bytes, or .* 'bytes', got string"):
        ParquetTable((texts,), (IMAGE,))
    paths = tmp_path / "paths.parquet"
    pq.write_table(pa.table({"image": [{"path": "x.png"}]}), paths)
    with pytest.raises(ValueError, match="must hold bytes, or structures with 'bytes', got struct"):
        ParquetTable((paths,), (IMAGE,))
    content = file.read_bytes()
    file.write_bytes(content[:-40])
    with pytest.raises(ValueError, match=r"\.parquet is not a readable parquet file"):
        ParquetTable((file,), ("id",))


def test_damage_inside_a_file_is_told(rows: list[dict[str, Any]], write_shards: Write) -> None:
    (file,) = shards(write_shards(rows, "test", shards=1), "test")
    content = bytearray(file.read_bytes())
    content[4:200] = bytes(196)
    file.write_bytes(content)
    table = ParquetTable((file,), ("id", IMAGE))
    with pytest.raises(ValueError, match=r"\.parquet is not a readable parquet file"):
        list(table.rows())
