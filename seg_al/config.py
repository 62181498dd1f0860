"""Components, the settings of everything; loading a config file; saving a run's config."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import functools
import importlib.util
import io
import re
import shutil
import sys
import sysconfig
import traceback
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar, Union

import typeguard
import tyro
from typing_extensions import dataclass_transform

from seg_al.reporting.files import write_atomically


class UserError(Exception):
    """A mistake in what the user gave; its text is one line: what, where, what to do.

    The tools print it without a traceback and exit with code 2.
    """


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
class Component:
    """Base of everything that has settings: its fields are the settings, its methods the behaviour.

    A subclass becomes a frozen, keyword-only dataclass by itself. Settings are literals, paths, other
    components, or tuples of these and dicts with names for keys. ``__post_init__`` may validate settings and
    nothing else.

    Raises (on construction):
        UserError: an unknown setting (the nearest one is named), a missing one, or a value of the
            wrong type.
        TypeError: (on definition) a subclass that defines ``__init__``.
    """

    tool: ClassVar[str] = ""
    """Program that takes a config of this kind; empty where none does."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            raise TypeError(
                f"{cls.__qualname__} defines __init__; a Component's settings are its fields "
                "(name: type = default), and __post_init__ may validate them"
            )
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.__init__ = _checked(cls.__init__)  # type: ignore[method-assign]

    def check_ready(self) -> None:
        """Check that what this will need is at hand, such as files; called on all parts of a config before work begins.

        Raises:
            UserError: something is missing or damaged; one line.
        """


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a dataclass's ``__init__`` so that a wrong name or type is a one-line UserError."""

    @functools.wraps(init)
    def checked(self: Component, *args: Any, **settings: Any) -> None:
        owner = type(self).__name__
        fields = {field.name: field for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        if args:
            raise UserError(f"{owner} takes settings by name, as {owner}({next(iter(fields), 'name')}=...)")
        for name in settings.keys() - fields.keys():
            raise UserError(f"{owner} has no setting {name!r}{nearest(name, list(fields))}")
        missing = [
            name
            for name, field in fields.items()
            if name not in settings
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise UserError(f"{owner} needs a value for {', '.join(missing)}")
        hints = _hints(type(self))  # type: ignore[arg-type]
        for name, value in settings.items():
            if isinstance(value, list):  # a list in a config file is a tuple here, so that settings hash
                settings[name] = value = tuple(value)
            if hints and not _has_type(value, hints[name]):
                raise UserError(f"{owner}.{name} must be {_readable(hints[name])}, not {value!r}")
        init(self, **settings)

    return checked


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except NameError:  # a hint that names something local to a function cannot be resolved: not checked
        return {}


def _has_type(value: Any, hint: Any) -> bool:
    if isinstance(value, bool) and hint in (int, float):
        return False
    try:
        typeguard.check_type(value, hint, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    except typeguard.TypeCheckError:
        return False
    return True


def _readable(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_readable(part) for part in typing.get_args(hint))
    return (
        "None"
        if hint is type(None)
        else hint.__name__
        if isinstance(hint, type) and not typing.get_args(hint)
        else str(hint)
    )


LISTED = 30
"""Options that a message names; what is longer nobody reads."""


def nearest(name: str, options: Sequence[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or where none is near the list of options, of a long one its start."""
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    left_out = len(options) - LISTED if len(options) > LISTED + 1 else 0
    listed = ", ".join(options[:LISTED] if left_out else options) or "none"
    return f"; it has: {listed}" + (f" and {left_out} more" if left_out else "")


AnyComponent = TypeVar("AnyComponent", bound=Component)


def load(
    path: str | Path,
    overrides: Sequence[str] = (),
    kind: type[AnyComponent] = Component,  # type: ignore[assignment]
    options: Sequence[str] = (),
) -> AnyComponent:
    """Import a config file, take its ``config`` and apply command-line overrides.

    Args:
        path: a Python file that defines ``config``, a Component. Its folder is importable while it
            loads, so configs build on each other.
        overrides: as typed after the file, e.g. ``["--train.epochs", "5"]``. ``--help`` lists every
            setting and exits.
        kind: what `config` must be.
        options: those the tool has beside the settings, for who mistypes one.

    Raises:
        UserError: no such file, an error in it (with its line), no ``config`` of that kind in it, an
            unknown option (the nearest one is named) or a value of the wrong type.
    """
    module = _import_file(Path(path))
    config = getattr(module, "config", None)
    if not isinstance(config, Component):
        found = "none" if config is None else _named(type(config))
        raise UserError(f"{path}: needs a variable `config` that holds {_named(kind)}, found {found}")
    if not isinstance(config, kind):
        there = f"; {config.tool} takes it" if config.tool else ""
        raise UserError(f"{path}: `config` is {_named(type(config))}, not {_named(kind)}{there}")
    if getattr(config, "name", None) == "":
        config = type(config)(**{**_settings(config), "name": Path(path).stem})
    return override(config, overrides, f"{Path(sys.argv[0]).name} {path}", module.__doc__, options)


def _named(kind: type) -> str:
    name = kind.__name__
    return f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"


def override(
    config: Component,
    arguments: Sequence[str],
    prog: str = "",
    description: str | None = None,
    options: Sequence[str] = (),
) -> Any:
    """Return `config` with ``--setting value`` pairs applied by tyro; UserError on a wrong one."""
    if not arguments:  # tyro would take settings called a-b and a_b for one
        return config
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            narrowed = _narrowed(config)
            chosen = tyro.cli(
                type(narrowed),
                default=narrowed,
                args=list(arguments),
                prog=prog or None,
                description=description,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
            )
            return _widened(chosen)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_what_is_wrong(said.getvalue(), [*options, *_flags(config)])) from None


def _what_is_wrong(box: str, options: Sequence[str]) -> str:
    """Return on one line what tyro says in a box: a title, what is wrong, and between rules what was meant."""
    # drawn in ASCII where the terminal has nothing else
    lines = [re.sub(r"[\u2500-\u257f]", "", line).strip(" |") for line in box.splitlines()[1:]]
    lines = ["" if set(line) <= set("-+") else line for line in lines]
    wrong, _, more = "\n".join(lines).strip().partition("\n\n")
    wrong = " ".join(wrong.split())
    if unknown := re.match(r"Unrecognized options: (--?[^\s,=]+)", wrong):
        close = difflib.get_close_matches(unknown[1], options, n=1, cutoff=0.6)
        return f"no option {unknown[1]}{f'; did you mean {close[0]}?' if close else ''} (--help lists all)"
    takes = re.search(r"^--.*", more, re.MULTILINE)
    return wrong + (f"; it is {takes[0].strip()}" if takes else "") + " (--help lists all)"


def _flags(config: Component, prefix: str = "--") -> Iterator[str]:
    for name, value in _settings(config).items():
        flag = prefix + name.replace("_", "-")
        yield flag
        if isinstance(value, Component):
            yield from _flags(value, f"{flag}.")


def _settings(config: Component) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}  # type: ignore[arg-type]


def _narrowed(config: Component) -> Component:
    """Return `config` as a type whose settings "a literal or a component" are of the kind they hold.

    On a command line, such a setting would otherwise be a choice of subcommands.
    """
    annotations, settings = {}, _settings(config)
    for name, hint in _hints(type(config)).items():  # type: ignore[arg-type]
        if name not in settings:  # a class variable
            continue
        kinds, value = typing.get_args(hint), settings[name]
        if isinstance(value, Component) and (narrowed := _narrowed(value)) is not value:
            settings[name], annotations[name] = narrowed, type(narrowed)
        elif any(isinstance(kind, type) and issubclass(kind, Component) for kind in kinds):
            annotations[name] = type(value)
    if not annotations:
        return config
    kind = type(config)
    body = {"__annotations__": annotations, "__doc__": kind.__doc__, "__module__": kind.__module__, "_widened": kind}
    return type(kind.__name__, (kind,), body)(**settings)


def _widened(config: Component) -> Component:
    """Undo `_narrowed`."""
    settings = {name: _widened(v) if isinstance(v, Component) else v for name, v in _settings(config).items()}
    return type(config).__dict__.get("_widened", type(config))(**settings)


_imported: set[str] = set()  # names of the modules that config files brought in


def _import_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        siblings = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) if siblings else ""
        raise UserError(f"{path}: {'is a directory' if path.is_dir() else 'no such config file'}{hint}")
    # Two folders may each hold a base.py: what an earlier config brought in must not answer for this one.
    for name in _imported & sys.modules.keys():
        del sys.modules[name]
    folder, name = str(path.parent.resolve()), re.sub(r"\W", "_", path.stem)
    if name in sys.modules:  # a config called random.py must not become Python's own module
        name += "_config"
    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: a config is a Python file, with the suffix .py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{error.filename}:{error.lineno}: {error.msg}: {(error.text or '').strip()}") from None
    except UserError as error:
        raise UserError(f"{_where(error, folder, path)}: {error}") from None
    except Exception as error:
        raise UserError(f"{_where(error, folder, path)}: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)  # for imports at run time, behind everything installed
        _imported.update(n for n in set(sys.modules) - before if _is_user_module(sys.modules[n]))
    return module


def _where(error: Exception, folder: str, path: Path) -> str:
    """Return ``file:line`` of the innermost frame that lies in the user's folder."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(folder)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(path)


def source(config: Component) -> str:
    """Return Python source that rebuilds `config`: a config file of its own, every setting spelled out."""
    classes = sorted({type(part) for part in components(config)}, key=lambda cls: cls.__qualname__)
    imports: dict[str, list[str]] = {}
    for cls in classes:
        if "<locals>" in cls.__qualname__ or "." in cls.__qualname__:
            raise UserError(f"{cls.__qualname__} is defined inside a function or class; move it to the top of a file")
        if twin := next((other for other in classes if other.__name__ == cls.__name__ and other is not cls), None):
            raise UserError(f"{cls.__module__} and {twin.__module__} both have {_named(cls)}; rename yours")
        public = getattr(sys.modules.get("seg_al"), cls.__name__, None) is cls
        imports.setdefault("seg_al" if public else _saved_name(cls.__module__), []).append(cls.__name__)
    lines = [f"from {module} import {', '.join(names)}" for module, names in sorted(imports.items())]
    return "\n".join(lines) + f"\n\nconfig = {_literal(config, 0)}\n"


def identity(text: str, ignore: Sequence[str]) -> list[str]:
    """Return a config's lines without the settings in `ignore`, which lie one a line or a block deep.

    A user's class goes by its module too: one of the same name elsewhere is another setting.
    """
    for module, names in re.findall(r"^from (?!seg_al[. ])(\S+) import (.*)$", text, flags=re.MULTILINE):
        text = re.sub(rf"\b({names.replace(', ', '|')})\(", rf"{module}.\1(", text)
    for name in ignore:
        text = re.sub(rf"^    {name}=([\w.]+\(\n.*?^    \)|.*?),\n", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if line and not line.startswith("from ")]


def components(config: Component) -> Iterator[Component]:
    """Yield `config` and every component among its settings, depth first."""
    yield config
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        for part in value if isinstance(value, tuple) else value.values() if isinstance(value, dict) else (value,):
            if isinstance(part, Component):
                yield from components(part)


def _literal(value: Any, depth: int) -> str:
    pad = "    " * (depth + 1)
    if isinstance(value, Component):
        fields = dataclasses.fields(value)  # type: ignore[arg-type]
        body = "".join(f"{pad}{f.name}={_literal(getattr(value, f.name), depth + 1)},\n" for f in fields)
        return f"{type(value).__name__}(\n{body}{'    ' * depth})" if body else f"{type(value).__name__}()"
    if isinstance(value, tuple):
        items = [_literal(item, depth) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if isinstance(value, dict):
        entries = "".join(f"{pad}{key!r}: {_literal(item, depth + 1)},\n" for key, item in value.items())
        return f"{{\n{entries}{'    ' * depth}}}" if entries else "{}"
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return f"float('{value}')"
    return repr(value)


def save(config: Component, folder: str | Path) -> None:
    """Write ``config.py`` into `folder`, a config that repeats the run, and copy user modules it imports."""
    text = source(config)
    for file, target in _user_modules(config, Path(folder)):
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.resolve() != target.resolve():
            shutil.copyfile(file, target)
    write_atomically(Path(folder) / "config.py", text)  # last: where it is, the folder holds a run


def changed_modules(config: Component, folder: str | Path) -> list[Path]:
    """Return the files of the user modules of `config` that are not as `save` copied them into `folder`."""
    pairs = _user_modules(config, Path(folder))
    return [file for file, copy in pairs if copy.exists() and file.read_bytes() != copy.read_bytes()]


def _user_modules(config: Component, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the file of each user module that `config` needs, and where `save` puts its copy."""
    waiting = {type(part).__module__ for part in components(config)}
    copied: set[str] = set()
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name) or types.ModuleType(name)
        if name in copied or not _is_user_module(module):
            continue
        copied.add(name)
        file = Path(str(module.__file__))
        target = folder.joinpath(*_saved_name(name).split("."))
        target = target / "__init__.py" if file.name == "__init__.py" else target.with_suffix(".py")
        yield file, target
        imported = {
            n for v in vars(module).values() for n in (getattr(v, "__module__", None), getattr(v, "__name__", None))
        }
        waiting |= {n for n in imported if isinstance(n, str) and n in sys.modules}
        if "." in name:
            waiting.add(name.rpartition(".")[0])


def _is_user_module(module: types.ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if not file or module.__name__.split(".")[0] == "seg_al":
        return False
    installed = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(Path(file).resolve().is_relative_to(Path(place).resolve()) for place in installed)


def _saved_name(module: str) -> str:
    """Name under which a user's module stands in a run directory, where ``config`` is the run's own."""
    if module == "__main__":
        module = Path(getattr(sys.modules["__main__"], "__file__", "notebook")).stem
    return "user_config" if module == "config" else module


def run_tool(main: Callable[[], int | None]) -> NoReturn:
    """Run a tool's `main`: a user's mistake is one line on stderr and exit code 2, without a traceback."""
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # not the line of code it is from
    try:
        sys.exit(main())
    except UserError as error:
        # from a loading process it comes wrapped in that process's traceback, of which it is the last line
        line = str(error).rstrip().splitlines()[-1].removeprefix(f"{UserError.__module__}.{UserError.__name__}: ")
        sys.exit(_say(f"error: {line}"))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            raise
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_say(f"error: {where}{error.strerror}; what was done is kept: make room and run the same again"))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted: what was done is kept; run the same command to continue"))


def _say(line: str) -> int:
    print(line, file=sys.stderr)
    return 2
