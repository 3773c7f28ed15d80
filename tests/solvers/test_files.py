import pytest

from solvers.files import replacing


def test_the_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "table.txt"
    with replacing(target) as unfinished:
        unfinished.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "table.txt"
    target.write_text("old")

    def fail_halfway():
        with replacing(target) as unfinished:
            unfinished.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
