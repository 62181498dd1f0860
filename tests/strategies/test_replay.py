"""A recorded selection, asked for again."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from rounds import make_round
from tiny import tiny_experiment

from seg_al import VAAL, Entropy, FileInitial, Random, RandomInitial, Replay, Train, UserError
from seg_al.reporting.indices import COLUMNS, read_indices, write_indices


def labeled(run: Path) -> list[list[str]]:
    return [(folder / "labeled.txt").read_text().split() for folder in sorted((run / "rounds").iterdir())]


def test_another_model_is_trained_on_the_recorded_selection(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, strategy=VAAL(latent=4, epochs=1, batch_size=8)).run()
    file = tmp_path / "indices" / "vaal.csv"
    write_indices(run, file)
    other = Train(epochs=1, batch_size=2)
    changes = {"initial": FileInitial(path=file), "seed": 5, "train": other}
    again = tiny_experiment(tmp_path, name="again", strategy=Replay(path=file), **changes).run()
    assert labeled(again) == labeled(run)
    for number in ("00", "01"):
        assert (again / f"rounds/{number}/query.csv").read_text() == (run / f"rounds/{number}/query.csv").read_text()
    # in one step of 6 rather than two of 3: the same order
    large = tiny_experiment(tmp_path, name="large", strategy=Replay(path=file), budget=6, rounds=2, **changes).run()
    assert labeled(large)[1] == labeled(run)[2]


def test_the_file_lists_the_initial_pool_as_round_0_and_each_query_under_the_round_it_was_made_for(
    tmp_path: Path,
) -> None:
    run = tiny_experiment(tmp_path, strategy=Entropy()).run()
    write_indices(run, tmp_path / "a, b.csv")
    with open(tmp_path / "a, b.csv", newline="") as table:
        header, *rows = csv.reader(table)
    assert tuple(header) == COLUMNS
    assert [(int(row[0]), int(row[1])) for row in rows] == [
        (k, rank) for k, size in ((0, 4), (1, 3), (2, 3)) for rank in range(1, size + 1)
    ]
    assert [row[2] for row in rows] == labeled(run)[-1]
    assert all(row[3] == "" for row in rows[:4]) and all(float(row[3]) > 0 for row in rows[4:])
    assert [name for _, name, _ in read_indices(tmp_path / "a, b.csv")] == labeled(run)[-1]


def test_scores_and_order_are_the_recorded_ones(tmp_path: Path) -> None:
    file = tmp_path / "picks.csv"
    file.write_text("round,rank,id,score\n0,1,train/000,\n1,1,train/020,0.5\n1,2,train/011,\n2,1,train/030,0.25\n")
    round = make_round(labeled=[0], unlabeled=[30, 11, 12, 20])
    selection = Replay(path=file).select(round, 3)
    assert selection.positions.tolist() == [3, 1, 0]
    np.testing.assert_array_equal(selection.scores, [0.5, np.nan, 0.25])
    header, *lines = file.read_text().splitlines()
    file.write_text("\n".join([header, *reversed(lines)]), encoding="utf-8-sig")  # as a spreadsheet may save it
    assert Replay(path=file).select(round, 3).positions.tolist() == [3, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("id\ntrain/009\n", "cannot be read as a table of round,rank,id,score"),
        ("round,rank,id,score\none,1,train/009,\n", "cannot be read"),
        ("round,rank,id,score\n1,1,train/009,\n1,2,train/009,\n", "lists 'train/009' more than once"),
        ("round,rank,id,score\n1,1,train/009,\n", "lists 1 more ids, but 2 are wanted"),
        ("round,rank,id,score\n1,1,train/009,\n1,2,elsewhere,\n", "1 ids are not in the pool, first 'elsewhere'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "picks.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message):
        Replay(path=file).select(make_round(), 2)


def test_what_a_run_will_lack_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, strategy=Random(), rounds=3).run()
    file = tmp_path / "picks.csv"
    write_indices(run, file)
    again = {"initial": FileInitial(path=file), "strategy": Replay(path=file), "name": "again"}
    with pytest.raises(UserError, match="lists 6 more ids, but 9 are wanted; lower rounds"):
        tiny_experiment(tmp_path, rounds=4, **again).run()
    file.write_text(file.read_text().replace(labeled(run)[2][-1], "elsewhere"))  # asked for in the last query
    with pytest.raises(UserError, match="1 ids are not in the pool, first 'elsewhere'"):
        tiny_experiment(tmp_path, **again).run()
    assert not (tmp_path / "again").exists()
    assert labeled(tiny_experiment(tmp_path, rounds=2, **again).run()) == labeled(run)[:2]  # all it needs is there


def test_a_file_of_ids_still_starts_a_run(tmp_path: Path) -> None:
    run = tiny_experiment(tmp_path, initial=RandomInitial(size=4), strategy=Random()).run()
    again = tiny_experiment(tmp_path, name="again", initial=FileInitial(path=run / "rounds/00/labeled.txt"), seed=9)
    assert labeled(again.run())[0] == labeled(run)[0]
