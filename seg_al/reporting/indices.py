"""What a run labeled, in order, as one table: for publication, and to repeat a selection with another model."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from seg_al.config import UserError
from seg_al.reporting.files import write_atomically

COLUMNS = ("round", "rank", "id", "score")


def write_indices(run: Path, file: Path) -> None:
    """Write what a run labeled, in order, as ``round,rank,id,score``: round 0 is the initial pool.

    What is labeled after round k's model is trained stands under round k + 1. `Replay` and `FileInitial` read it.
    """
    rows: list[Sequence[str]] = [COLUMNS]
    initial = (run / "rounds" / "00" / "labeled.txt").read_text(encoding="utf-8").splitlines()
    rows += [("0", str(rank), name, "") for rank, name in enumerate(initial, 1)]
    for query in sorted(run.glob("rounds/*/query.csv"), key=lambda file: int(file.parent.name)):
        with open(query, newline="", encoding="utf-8") as table:
            _, *picks = csv.reader(table)
        rows += [(str(int(query.parent.name) + 1), *pick) for pick in picks]
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_atomically(file, text.getvalue())


def read_indices(path: str | Path) -> list[tuple[int, str, float]]:
    """Read a file of ``indices/``: round, id and score (NaN where there is none) of each sample, in order of labeling.

    Raises:
        UserError: it is missing, is no such file, or lists an id twice.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(int(row["round"]), row["id"], float(row["score"] or "nan")) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read as a table of round,rank,id,score ({error!r})") from None
    ids = [name for _, name, _ in rows]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise UserError(f"{path}: lists {twice!r} more than once")
    return rows
