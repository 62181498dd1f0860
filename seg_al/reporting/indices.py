"""What a run labeled, in order, as one table: for publication, and to repeat a selection with another model."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from seg_al.config import UserError
from seg_al.reporting.files import write_atomically
from seg_al.reporting.reading import read_picks

COLUMNS = ("round", "rank", "id", "score")


def write_indices(run: Path, file: Path) -> None:
    """Write what a run labeled, in order, as ``round,rank,id,score``: round 0 is the initial pool.

    What is labeled after round k's model is trained stands under round k + 1. `Replay` and `FileInitial` read it.

    Raises:
        UserError: the run has no first round, or one of its files is damaged.
    """
    source = run / "rounds" / "00" / "labeled.txt"
    rows: list[tuple[str, ...]] = [COLUMNS]
    try:
        initial = source.read_text(encoding="utf-8").splitlines()
        rows += [("0", str(rank), name, "") for rank, name in enumerate(initial, 1)]
        queries = [query for query in run.glob("rounds/*/query.csv") if query.parent.name.isdigit()]
        for source in sorted(queries, key=lambda query: int(query.parent.name)):
            asked = str(int(source.parent.name) + 1)
            rows += [(asked, str(rank), *pick) for rank, pick in enumerate(read_picks(source), 1)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"{source}: what was labeled cannot be read ({error})") from None
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(file, text.getvalue())


def read_indices(path: str | Path) -> list[tuple[int, str, float]]:
    """Read a file of ``indices/``: round, id and score (NaN where there is none) of each sample, by round and rank.

    Raises:
        UserError: it is missing, is no such file, or lists an id twice.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = sorted(csv.DictReader(file), key=lambda row: (int(row["round"]), int(row["rank"])))
            rows = [(int(row["round"]), row["id"], float(row["score"] or "nan")) for row in table]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read as a table of round,rank,id,score ({error!r})") from None
    ids = [name for _, name, _ in rows]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"{path}: lists {twice!r} more than once")
    return rows
