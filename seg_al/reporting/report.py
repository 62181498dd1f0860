"""A report on runs, as files: figures, tables, the page and its text, and what each run labeled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seg_al.config import UserError
from seg_al.reporting.analysis import find_random
from seg_al.reporting.figures import save
from seg_al.reporting.files import write_atomically
from seg_al.reporting.indices import write_indices
from seg_al.reporting.page import Section, write_page
from seg_al.reporting.runs import read_runs
from seg_al.reporting.sections import Part, make_parts
from seg_al.reporting.tables import escaped, markdown, write_table


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
    all digits, LaTeX) and ``indices/`` (what each run labeled, in order). The same runs give the same bytes.

    Args:
        folders: runs, folders of seeds, or studies, see `read_runs`.
        out: where to write; ``<study>/report`` where one study is given, else ``report``.
        title: of the report; the folders' names where empty.
        random: strategy to compare with; where None, the one called random.
        levels: scores in [0, 1] whose number of labels is asked for, besides 90 % and 95 % of the full data's.
        sequence: regular expression of what names a sequence, at the start of ids; the study's where empty.

    Raises:
        UserError: no run has anything to report yet, or a wrong argument.
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

    for folder in ("figures", "tables", "indices"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    sections = []
    for part in parts:
        for table in part.tables:
            write_table(table, out / "tables")
        drawn = [save(figure, out / "figures", name) for name, figure in part.figures.items()]
        sections.append(Section(part.title, part.text, drawn, [(table.caption, table.shown) for table in part.tables]))
    for run in (*runs.runs, *runs.full):
        name = run.strategy.replace("/", "_")
        write_indices(run.path, out / "indices" / f"{name}_seed{run.seed}.csv")
    write_atomically(out / "report.md", as_markdown(title, parts))
    write_page(out / "report.html", title, sections, runs)
    return out


def as_markdown(title: str, parts: Sequence[Part]) -> str:
    """Return the report as Markdown, with links to its figures in ``figures/``."""
    blocks = [f"# {escaped(title)}"]
    for part in parts:
        blocks += [f"## {escaped(part.title)}", escaped(part.text)]
        blocks += [f"![{name.replace('_', ' ')}](figures/{name}.svg)" for name in part.figures]
        for table in part.tables:
            blocks += [escaped(table.caption), markdown(table.shown).rstrip()]
    return "\n\n".join(block for block in blocks if block) + "\n"
