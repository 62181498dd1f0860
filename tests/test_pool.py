"""Labeled and unlabeled samples; initial pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seg_al import FileInitial, RandomInitial, UserError
from seg_al.pool import Pool

IDS = [f"city/{index:02d}" for index in range(30)]


def test_labeling_moves_samples_and_keeps_their_order() -> None:
    pool = Pool(IDS).label([7, 3]).label(np.array([20]))
    assert pool.labeled == (7, 3, 20)
    assert set(pool.unlabeled) | set(pool.labeled) == set(range(30)) and len(pool.unlabeled) == 27
    assert list(pool.unlabeled) == sorted(pool.unlabeled)
    assert pool.fraction == pytest.approx(0.1)


@pytest.mark.parametrize("indices", [[3], [1, 1], [30], [-1]])
def test_labeling_twice_or_outside_is_refused(indices: list[int]) -> None:
    with pytest.raises(ValueError, match="distinct, unlabeled and in the pool"):
        Pool(IDS, (3,)).label(indices)


def test_random_initial_is_distinct_and_a_function_of_the_seed() -> None:
    chosen = [RandomInitial(size=20).choose(IDS, seed) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 20
    # a larger start contains a smaller one, so that studies of the initial size stay comparable
    assert RandomInitial(size=5).choose(IDS, 0) == chosen[0][:5]


@pytest.mark.parametrize(("size", "part"), [(31, "the pool holds 30"), (0, "at least 1"), (-2, "at least 1")])
def test_impossible_initial_sizes(size: int, part: str) -> None:
    with pytest.raises(UserError, match=part):
        RandomInitial(size=size).choose(IDS, 0)


def test_file_initial_reads_ids_in_order(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("city/04\n\n city/02 \n", encoding="utf-8")
    assert FileInitial(path=str(tmp_path / "ids.txt")).choose(IDS, 0) == [4, 2]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "lists no id"),
        ("city/04\ncity/4\n", "1 ids not in the pool, first 'city/4'; did you mean"),
        ("city/04\ncity/04\n", "'city/04' more than once"),
        (None, "cannot be read"),
    ],
)
def test_bad_files_of_ids(tmp_path: Path, text: str | None, part: str) -> None:
    file = tmp_path / "ids.txt"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        FileInitial(path=str(file)).choose(IDS, 0)
    assert part in str(error.value) and str(file) in str(error.value)
