"""Which images of a pool of your own to label next: python tools/query.py configs/my_pool.py [--budget 50]

Trains on the images that have masks, if any has changed since the last time, evaluates, and writes a query of the
others: what to label, with the model's predictions. Run it again when masks have arrived.
"""

from pathlib import Path

print("loading ...", flush=True)  # before torch and what stands on it, which takes seconds

from seg_al.annotation.base import AnnotationFormat  # noqa: E402
from seg_al.annotation.coco import Coco  # noqa: E402
from seg_al.annotation.cvat import Cvat  # noqa: E402
from seg_al.annotation.importing import Imported  # noqa: E402
from seg_al.annotation.label_studio import LabelStudio  # noqa: E402
from seg_al.annotation.masks import PngMasks  # noqa: E402
from seg_al.command_line import ToolParser  # noqa: E402
from seg_al.config import UserError, nearest, run_tool  # noqa: E402
from seg_al.own_pool import OwnPool  # noqa: E402
from seg_al.own_query import ask, bring_in, export  # noqa: E402

FORMATS: dict[str, type[AnnotationFormat]] = {
    "label-studio": LabelStudio,
    "cvat": Cvat,
    "coco": Coco,
    "masks": PngMasks,
}


def main() -> int:
    options = "[--export FORMAT] [--import FORMAT FILE [--accept-partial] [--replace]] [--setting value ...]"
    parser = ToolParser(__doc__, f"query.py CONFIG {options}")
    parser.add_argument("config", help="a file whose `config` is an OwnPool")
    parser.add_argument("--export", metavar="FORMAT", help=f"write the query for a tool: {', '.join(FORMATS)}")
    parser.add_argument(
        "--import", dest="finished", nargs=2, metavar=("FORMAT", "FILE"), help="bring in finished work, and do no more"
    )
    parser.add_argument("--accept-partial", action="store_true", help="import images with pixels that nobody labeled")
    parser.add_argument("--replace", action="store_true", help="import masks over others that are there")
    arguments, pool, _ = parser.load(OwnPool)
    if arguments.finished:
        kind, file = format_of("--import", arguments.finished[0]), Path(arguments.finished[1])
        tell(bring_in(pool, kind, file, arguments.accept_partial, arguments.replace))
        return 0
    kind = format_of("--export", arguments.export) if arguments.export else None
    query = ask(pool)
    if kind:
        for line in export(pool, query, kind, query.path / f"export-{arguments.export}"):
            print(line)
    return 0


def format_of(option: str, name: str) -> AnnotationFormat:
    """Return the format of a name.

    Raises:
        UserError: there is none.
    """
    if name not in FORMATS:
        raise UserError(f"{option}: no format {name!r}{nearest(name, list(FORMATS))}")
    return FORMATS[name]()


def tell(imported: Imported) -> None:
    """Say what an import did."""
    print(f"{len(imported.written)} masks imported, {len(imported.unchanged)} were there already")
    for names, what in (
        (imported.unfinished, "have no label yet"),
        (imported.partial, "had pixels that nobody labeled, now void"),
    ):
        if names:
            print(f"{len(names)} images {what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}")


if __name__ == "__main__":
    run_tool(main)
