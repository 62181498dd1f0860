"""A report on runs, as files: figures, tables, the page and its text, and what each run labeled."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from seg_al.config import UserError
from seg_al.reporting.analysis import find_random
from seg_al.reporting.figures import save
from seg_al.reporting.files import write_atomically
from seg_al.reporting.indices import write_indices
from seg_al.reporting.page import Section, write_page
from seg_al.reporting.reading import read_runs
from seg_al.reporting.runs import Runs
from seg_al.reporting.sections import Part, make_parts
from seg_al.reporting.tables import escaped, markdown, write_table

FOLDERS = ("figures", "tables", "indices")
"""Of a report, beside its page and text."""


def write_report(
    folders: Sequence[Path | str],
    out: Path | str | None = None,
    title: str = "",
    random: str | None = None,
    levels: Sequence[float] = (),
    sequence: str = "",
) -> Path:
    """Write a report on runs, finished or going on; return its folder.

    It holds ``report.html`` (all of it, in one file), ``report.md``, ``figures/`` (SVG and PNG), ``tables/`` (CSV with
    all digits, LaTeX) and ``indices/`` (what each run labeled, in order). The same runs give the same bytes. What an
    earlier report wrote there and this one has not, goes.

    Args:
        folders: runs, folders of seeds, or studies, see `read_runs`.
        out: where to write; ``<study>/report`` where one study is given, else ``report``.
        title: of the report; the folders' names where empty.
        random: strategy to compare with; where None, the one called random.
        levels: scores in [0, 1] whose number of labels is asked for, besides 90 % and 95 % of the full data's.
        sequence: regular expression of what names a sequence, at the start of ids; the study's where empty.

    Raises:
        UserError: no run has anything to report yet, a wrong argument, or a folder that cannot be written to.
    """
    runs = read_runs(folders)
    if not runs.runs and not runs.full:
        first = f"; {runs.broken[0].path}: {runs.broken[0].status}" if runs.broken else ""
        raise UserError(f"none of the {len(runs.broken)} runs has a round to report on{first}")
    homes = [Path(folder).resolve() for folder in folders]
    if out is None:
        out = homes[0] / "report" if len(homes) == 1 and (homes[0] / "study.json").exists() else "report"
    out = Path(out)
    title = title or ", ".join(home.name for home in homes)
    parts = make_parts(runs, find_random(runs, random), levels, sequence)
    try:
        _write(out, title, parts, runs)
    except OSError as error:
        raise UserError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    return out


def _write(out: Path, title: str, parts: Sequence[Part], runs: Runs) -> None:
    for folder in FOLDERS:
        (out / folder).mkdir(parents=True, exist_ok=True)
    sections, written = [], []
    for part in parts:
        for table in part.tables:
            written += write_table(table, out / "tables")
        drawn = [save(figure, out / "figures", name) for name, figure in part.figures.items()]
        written += [file.with_suffix(suffix) for file in drawn for suffix in (".svg", ".png")]
        sections.append(Section(part.title, part.text, drawn, [(table.caption, table.shown) for table in part.tables]))
    written += _write_all_indices(runs, out / "indices")
    write_atomically(out / "report.md", as_markdown(title, parts))
    write_page(out / "report.html", title, sections, runs)
    _remove_earlier(out, written)


def _write_all_indices(runs: Runs, folder: Path) -> list[Path]:
    """Write what each run labeled, of damaged runs too; return the files. What cannot be read is warned of."""
    written: list[Path] = []
    for run in (*runs.runs, *runs.full, *runs.broken):
        if not (run.path / "rounds").is_dir():
            continue  # never started
        name = f"{run.strategy.replace('/', '_')}_seed{run.seed}"
        while folder / f"{name}.csv" in written:  # a/b and a_b
            name += "_"
        try:
            write_indices(run.path, folder / f"{name}.csv")
        except UserError as error:
            warnings.warn(str(error), stacklevel=2)
        else:
            written.append(folder / f"{name}.csv")
    return written


def _remove_earlier(out: Path, written: Iterable[Path]) -> None:
    """Remove what an earlier report wrote in its folders and this one did not; files of others stay."""
    noted = out / ".files"  # what the last report wrote
    now = sorted(file.relative_to(out).as_posix() for file in written)
    before = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    for name in set(before) - set(now):
        if name.partition("/")[0] in FOLDERS and ".." not in name:
            (out / name).unlink(missing_ok=True)
    write_atomically(noted, "".join(f"{name}\n" for name in now))


def as_markdown(title: str, parts: Sequence[Part]) -> str:
    """Return the report as Markdown, with links to its figures in ``figures/``."""
    blocks = [f"# {escaped(title)}"]
    for part in parts:
        blocks += [f"## {escaped(part.title)}", escaped(part.text)]
        blocks += [f"![{name.replace('_', ' ')}](figures/{name}.svg)" for name in part.figures]
        for table in part.tables:
            blocks += [escaped(table.caption), markdown(table.shown).rstrip()]
    return "\n\n".join(block for block in blocks if block) + "\n"
