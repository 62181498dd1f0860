"""The report's page: its markup, what it shows and leaves out, and, where a browser is at hand, how it behaves."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import Page, missing

from seg_al.reporting.page import LIMIT, Section, write_page
from seg_al.reporting.queried import write_pictures
from seg_al.reporting.runs import Query, Round, Run, Runs

NAUGHTY = """<b>&"'</script><script>alert(1)</script> ünï $title"""
VOID = {"meta", "link", "img", "br", "input"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="1500" height="300"><path id="a"/><use href="#a"/></svg>'


class Parsed(HTMLParser):
    """Elements of a page with their attributes and texts; whatever is not nested properly is an error."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        return "\n".join(text for tag, text in self.texts if not tags or tag in tags)

    @property
    def gallery(self) -> dict:
        return json.loads(next(text for tag, text in self.texts if tag == "script" and text.startswith('{"pictures"')))


def make_runs(
    folder: Path, strategies=("random", "entropy"), seeds=(0, 1), rounds=2, asked=3, pictures=True, side=24
) -> Runs:
    """Return runs whose queries have pictures of noise, each image another one."""
    rng = np.random.default_rng(0)
    runs = []
    for strategy, name in enumerate(strategies):
        for seed in seeds:
            done = []
            for number in range(rounds + 1):
                home = folder / f"{strategy}" / f"seed{seed}" / "rounds" / f"{number:02d}"
                ids = tuple(f"{name}/s{seed}r{number}i{rank}" for rank in range(asked))
                scores = tuple(math.nan if strategy == 0 else 0.25 * rank - 0.125 for rank in range(asked))
                query = Query(ids, {}, {}, 0.5, home / "query", scores) if number < rounds else None
                if query and pictures:
                    noise = rng.integers(0, 255, (asked, 2, 18, side, 3), dtype=np.uint8)
                    write_pictures(query.folder, [tuple(pair) for pair in noise])
                labeled = tuple(str(k) for k in range(10 + asked * number))
                done.append(Round(number, labeled, 0.1, 0.4 + 0.1 * number, {}, {}, {}, query))
            runs.append(Run(folder, name, seed, "mIoU", tuple(done), rounds + 1, True))
    return Runs(tuple(runs), (), (), "mIoU")


def encoded(folder: Path, pattern: str) -> Counter:
    return Counter(base64.b64encode(file.read_bytes()).decode() for file in folder.glob(pattern))


@pytest.fixture
def figure(tmp_path: Path) -> Path:
    path = tmp_path / "learning_curves.svg"
    path.write_text(SVG, encoding="utf-8")
    return path


def test_page_is_well_formed_and_fetches_nothing(tmp_path, figure):
    table = pd.DataFrame({"mIoU": [0.5]}, index=["random"])
    sections = [Section("Curves", "Text.", [figure, figure], [("Scores", table)])]
    page = write_page(tmp_path / "new" / "report.html", "Study", sections, make_runs(tmp_path))
    assert page == tmp_path / "new" / "report.html"
    parsed = Parsed(page)
    sources = [attributes[key] for _, attributes in parsed.elements for key in ("src", "href") if key in attributes]
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "url(" not in parsed.text("style") and "@import" not in parsed.text("style")
    assert "http" not in page.read_text(encoding="utf-8").replace("http-equiv", "")
    policy = next(a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert all(image["alt"] for image in parsed.all("img"))


def test_contents_lead_to_every_section_and_ids_are_unique(tmp_path, figure):
    sections = [Section("One", "", [figure, figure]), Section("One", "", [figure])]
    parsed = Parsed(write_page(tmp_path / "report.html", "Study", sections, make_runs(tmp_path)))
    ids = Counter(attributes["id"] for _, attributes in parsed.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    assert [a["href"] for a in parsed.all("a")] == ["#s1", "#s2", "#s3"] and {"s1", "s2", "s3"} <= ids.keys()
    assert parsed.text("a") == "One\nOne\nWhat was queried"
    figures = [image["src"].split(",")[1] for image in parsed.all("img")]
    assert [base64.b64decode(source).decode() for source in figures] == [SVG] * 3


def test_text_is_paragraphs_and_lists(tmp_path):
    text = "First\nline.\n\n- one\n- two\n\nLast - line."
    parsed = Parsed(write_page(tmp_path / "report.html", "Study", [Section("A", text)], make_runs(tmp_path)))
    assert parsed.text("p").startswith("First\nline.\nLast - line.") and parsed.text("li") == "one\ntwo"


def test_what_users_named_is_text(tmp_path):
    figure = tmp_path / "a&b'<i>.svg"
    figure.write_text(SVG, encoding="utf-8")
    table = pd.DataFrame({NAUGHTY: [NAUGHTY]}, index=pd.Index([NAUGHTY], name=NAUGHTY))
    sections = [Section(NAUGHTY, f"{NAUGHTY}\n\n- {NAUGHTY}", [figure], [(NAUGHTY, table)])]
    page = write_page(tmp_path / "report.html", NAUGHTY, sections, make_runs(tmp_path, ["random", NAUGHTY]))
    parsed = Parsed(page)
    for tag, count in {"title": 1, "h1": 1, "h2": 1, "p": 2, "li": 1, "th": 3, "td": 1, "option": 1, "a": 1}.items():
        assert parsed.texts.count((tag, NAUGHTY)) == count, tag
    assert len(parsed.all("script")) == 2 and not parsed.all("b") and not parsed.all("i")
    assert parsed.gallery["queries"][-1]["tiles"][0]["id"] == f"{NAUGHTY}/s1r1i0"
    assert parsed.all("table")[0]["aria-label"] == NAUGHTY
    assert parsed.all("img")[0]["alt"] == f"{NAUGHTY}: a&b'<i>"


def test_names_that_are_no_text(tmp_path):
    runs = make_runs(tmp_path, ["random", "caf\udce9"], pictures=False)  # as os.listdir gives what is not UTF-8
    assert write_page(tmp_path / "report.html", "caf\udce9", [Section("A", "")], runs).read_bytes().decode("utf-8")


def test_tables_have_numbers_to_the_right(tmp_path):
    frame = pd.DataFrame(
        {
            ("score", "mIoU"): [0.61234, -0.5, math.nan],
            ("", "seconds"): [812.345, 3.0, 10.0],
            ("", "p"): [0.5, 2e-6, math.inf],
            ("", "labels"): [10, 200, 30],
            ("", "interval"): ["62.1 ± 0.4", "≥ 300", "–"],
            ("", "note"): ["3 of 5 rounds", "12 %", ""],
            ("", "finished"): [True, False, True],
        },
        index=pd.MultiIndex.from_product([["camvid"], ["random", "badge", "vaal"]], names=["data", "strategy"]),
    )
    page = write_page(tmp_path / "report.html", "Study", [Section("A", "", [], [("T", frame)])], make_runs(tmp_path))
    parsed = Parsed(page)
    heads = ["data", "strategy", "score mIoU", "seconds", "p", "labels", "interval", "note", "finished"]
    assert parsed.text("th").splitlines() == [*heads, *["camvid"] * 3]
    cells = parsed.text("td").splitlines()
    assert cells[:8] == ["random", "0.6123", "812.3", "0.5000", "10", "62.1 ± 0.4", "3 of 5 rounds", "yes"]
    assert cells[8:16] == ["badge", "−0.5000", "3.0", "2.0e-06", "200", "≥ 300", "12 %", "no"]
    assert cells[16:] == ["vaal", "–", "10.0", "∞", "30", "–", "yes"]  # the empty note is no text
    right = [head.get("class") == "number" for head in parsed.all("th")][:9]
    assert right == [False, False, True, True, True, True, True, False, False]
    assert [cell.get("class") == "number" for cell in parsed.all("td")] == right[1:] * 3


def test_figures_that_no_browser_shows_are_refused(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    for name, error in {"a.pdf": ValueError, "none.svg": FileNotFoundError}.items():
        with pytest.raises(error, match=name.replace(".", r"\.")):
            write_page(tmp_path / "r.html", "Study", [Section("A", "", [tmp_path / name])], Runs((), (), (), ""))
    assert not (tmp_path / "r.html").exists()


def test_gallery_has_each_picture_once(tmp_path):
    runs = make_runs(tmp_path, asked=4)
    parsed = Parsed(write_page(tmp_path / "report.html", "Study", [Section("A", "")], runs, thumbnails=3))
    assert Counter(parsed.gallery["pictures"]) == sum(
        (encoded(tmp_path, f"*/seed?/rounds/*/query/00{rank}*.jpg") for rank in (1, 2, 3)), Counter()
    )
    query = next(q for q in parsed.gallery["queries"] if (q["strategy"], q["seed"], q["round"]) == (1, 0, 1))
    assert [tile["id"] for tile in query["tiles"]] == ["entropy/s0r1i0", "entropy/s0r1i1", "entropy/s0r1i2"]
    assert [tile["score"] for tile in query["tiles"]] == ["−0.125", "0.125", "0.375"]
    assert query["facts"] == "trained on 14 images: mIoU 50.0 %; asked for 4 more; redundancy 0.500"
    for rank, tile in enumerate(query["tiles"], 1):
        for part, suffix in (("image", ""), ("label", "_label")):
            assert Counter([parsed.gallery["pictures"][tile[part]]]) == encoded(
                tmp_path, f"1/seed0/rounds/01/query/00{rank}{suffix}.jpg"
            )
    assert all(tile["score"] == "" for q in parsed.gallery["queries"] if q["strategy"] == 0 for tile in q["tiles"])
    assert "first 3 of each query" in parsed.text("p")


def test_same_picture_of_two_strategies_is_stored_once(tmp_path):
    runs = make_runs(tmp_path, seeds=(0,), rounds=1)
    one, other = (run.rounds[0].query.folder / "001.jpg" for run in runs.runs)
    other.write_bytes(one.read_bytes())
    gallery = Parsed(write_page(tmp_path / "report.html", "Study", [Section("A", "")], runs)).gallery
    assert max(Counter(gallery["pictures"]).values()) == 1 and len(gallery["pictures"]) == 11
    assert gallery["queries"][0]["tiles"][0]["image"] == gallery["queries"][1]["tiles"][0]["image"]


def test_pictures_that_were_not_kept_are_passed_over(tmp_path):
    runs = make_runs(tmp_path, seeds=(0,), rounds=1)
    kept = runs.runs[0].rounds[0].query.folder
    (kept / "002_label.jpg").unlink()
    (kept / "003.jpg").unlink()
    queries = Parsed(write_page(tmp_path / "report.html", "Study", [Section("A", "")], runs)).gallery["queries"]
    assert [(tile["rank"], tile["label"] is None) for tile in queries[0]["tiles"]] == [(1, False), (2, True)]
    assert len(queries[1]["tiles"]) == 3


def test_limit_leaves_out_seeds_then_pictures_and_tells(tmp_path, figure):
    runs, sections = make_runs(tmp_path, seeds=(0, 3, 5), asked=8), [Section("A", "", [figure])]
    write = lambda limit: write_page(tmp_path / "report.html", "Study", sections, runs, limit)  # noqa: E731
    whole = write(LIMIT).stat().st_size
    assert write(whole).stat().st_size == whole and "left out" not in Parsed(write(whole)).text("p")
    tight = write(whole - 1)
    parsed = Parsed(tight)
    assert tight.stat().st_size < whole
    assert {q["seed"] for q in parsed.gallery["queries"]} == {0, 3}
    assert "first 8 of each query" in parsed.text("p") or "first 12 of each query" in parsed.text("p")
    assert "Seed 5 left out" in parsed.text("p") and "seed 5" not in parsed.text("option")
    bare = whole - sum(len(picture) + 3 for picture in Parsed(write(LIMIT)).gallery["pictures"])
    little = bare + (whole - bare) // 5  # one seed is a third of all pictures
    parsed = Parsed(write(little))
    assert write(little).stat().st_size <= little
    assert {len(q["tiles"]) for q in parsed.gallery["queries"]} == {3} and "Seeds 3, 5 left out" in parsed.text("p")
    parsed = Parsed(write(1000))  # sections are there all the same
    assert "would make this page too large" in parsed.text("p") and len(parsed.all("img")) == 1


@pytest.mark.parametrize("empty", [True, False])
def test_runs_without_pictures(tmp_path, empty):
    runs = Runs((), (), (), "") if empty else make_runs(tmp_path, pictures=False)
    parsed = Parsed(write_page(tmp_path / "report.html", "Study", [Section("A", "text")], runs))
    assert "kept no pictures" in parsed.text("p") and not parsed.all("form")


# In a browser

pytestmark_browser = pytest.mark.skipif(bool(missing()), reason=missing())
OPACITY = "getComputedStyle(document.querySelector('.thumb .label')).opacity"
SHOWN = "[...document.querySelectorAll('.thumb img')].map(i => i.src.split(',')[1])"
CHOOSE = "((s, v) => { s.value = v; s.dispatchEvent(new Event('change', {bubbles: true})); })"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, Path]:
    """A page with a wide figure and table and long names, and its runs' folder."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "wide.svg").write_text(SVG, encoding="utf-8")
    wide = pd.DataFrame(np.arange(60.0).reshape(3, 20), index=["b", "c", "a"]).add_prefix("class ")
    wide.iloc[1, 0] = np.nan
    texts = {"time": ["1,100", "900", "12,000"], "n": ["−9 (n=1)", "10 ± 2*", "> 9 [8, open]"]}
    wide = wide.assign(**texts, word=["undefined (n=5)", "2 %", "≥ 10 %"])
    text = "https://example.org/" + "a_very_long_path_without_a_break" * 5
    sections = [Section("W" * 60, text, [folder / "wide.svg"], [("Numbers " * 30, wide)])]
    runs = make_runs(folder, [NAUGHTY, "entropy", "a_strategy_with_a_long_name_without_a_space" * 3], asked=12)
    return write_page(folder / "report.html", "Study", sections, runs), folder


@pytest.fixture(scope="module")
def chromium():
    with Page() as page:
        yield page


def pictures(folder: Path, strategies: str, seed: int, number: int) -> Counter:
    return encoded(folder, f"{strategies}/seed{seed}/rounds/{number:02d}/query/*.jpg")


def changed(page: Page, axis: str, value: str) -> None:
    page.evaluate(f"{CHOOSE}(document.querySelector('select[name={axis}]'), '{value}')")


@pytestmark_browser
def test_rows_are_what_every_strategy_asked_for(chromium, report):
    page, folder = report
    chromium.open(page)
    assert Counter(chromium.evaluate(SHOWN)) == pictures(folder, "[012]", 0, 0)
    assert chromium.evaluate("document.querySelectorAll('.row h3')[0].textContent") == NAUGHTY
    changed(chromium, "round", "1")
    assert Counter(chromium.evaluate(SHOWN)) == pictures(folder, "[012]", 0, 1)
    changed(chromium, "seed", "1")
    assert Counter(chromium.evaluate(SHOWN)) == pictures(folder, "[012]", 1, 1)
    changed(chromium, "rows", "round")
    changed(chromium, "strategy", "2")
    assert Counter(chromium.evaluate(SHOWN)) == pictures(folder, "2", 1, 0) + pictures(folder, "2", 1, 1)
    visible = "[...document.querySelectorAll('select')].filter(s => s.offsetParent).map(s => s.name).join()"
    assert chromium.evaluate(visible) == "rows,strategy,seed"
    chromium.settled()
    assert chromium.evaluate("[...document.images].filter(i => !i.naturalWidth).length") == 0


@pytestmark_browser
def test_label_shows_under_mouse_focus_and_click(chromium, report):
    chromium.open(report[0])
    middle = chromium.middle(".thumb")
    assert chromium.evaluate(OPACITY) == "0"
    chromium.point(**middle)
    assert chromium.wait(f"{OPACITY} === '1'")
    chromium.point(1, 1)
    assert chromium.wait(f"{OPACITY} === '0'")
    chromium.evaluate("document.querySelector('[name=labels]').focus()")
    chromium.press("Tab", 9)
    while not chromium.evaluate("document.activeElement.matches('.thumb')"):  # over the strip, which scrolls
        chromium.press("Tab", 9)
    assert chromium.evaluate("document.activeElement === document.querySelector('.thumb')")
    assert chromium.evaluate(OPACITY) == "1"
    chromium.press("Tab", 9)
    assert chromium.evaluate(OPACITY) == "0"
    chromium.evaluate("document.querySelector('[name=labels]').click()")
    assert chromium.evaluate(OPACITY) == "1"


@pytestmark_browser
def test_label_stays_after_a_tap_until_the_next(chromium, report):
    chromium.open(report[0], 390, 844, phone=True)
    middle = chromium.middle(".thumb")
    assert chromium.evaluate("matchMedia('(hover: none)').matches")  # a finger that hovers would keep the label
    for opacity, pressed in (("1", "true"), ("0", "false")):
        chromium.tap(**middle)
        assert chromium.wait(f"document.querySelector('.thumb').getAttribute('aria-pressed') === '{pressed}'")
        assert chromium.evaluate(OPACITY) == opacity


@pytestmark_browser
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_a_phone(chromium, report, dark):
    chromium.open(report[0], 360, 740, phone=True, dark=dark)
    assert chromium.evaluate("document.documentElement.scrollWidth") == 360
    assert chromium.evaluate("innerWidth") == 360
    assert chromium.evaluate("document.querySelector('.scroll').scrollWidth") > 1000  # the table scrolls in its box
    assert chromium.evaluate("document.querySelector('figure img').clientWidth") < 360
    targets = "[...document.querySelectorAll('a, button, select, label.check')].filter(e => e.offsetParent)"
    small = f"{targets}.filter(e => e.getBoundingClientRect().height < 40 || e.getBoundingClientRect().width < 40)"
    assert chromium.evaluate(f"{small}.map(e => e.outerHTML.slice(0, 80))") == []
    paper = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")


@pytestmark_browser
def test_tables_sort(chromium, report):
    chromium.open(report[0])
    column = "[...document.querySelectorAll('tbody th')].map(c => c.textContent).join('')"
    click = "document.querySelectorAll('thead button')[{}].click()".format
    assert chromium.evaluate(column) == "bca"
    last = 20
    for head, order in (
        (0, "abc"), (0, "cba"), (1, "abc"), (1, "bac"),  # nothing is last, up and down
        (last + 1, "abc"), (last + 2, "cab"), (last + 2, "bac"), (last + 3, "acb"), (last + 3, "cab"),
    ):  # fmt: skip
        chromium.evaluate(click(head))
        assert chromium.evaluate(column) == order


@pytestmark_browser
def test_without_script_all_but_the_gallery_is_there(chromium, report):
    chromium.open(report[0], script=False)
    text = chromium.evaluate("document.body.innerText")
    assert "need JavaScript" in text and "class 19" in text and "Compare" not in text
    chromium.open(report[0])
    assert "need JavaScript" not in chromium.evaluate("document.body.innerText")


@pytestmark_browser
def test_nothing_is_fetched_and_nothing_goes_wrong(report):
    with Page() as page:
        page.open(report[0])
        for axis, value in (("round", "1"), ("rows", "seed"), ("strategy", "1"), ("rows", "strategy")):
            changed(page, axis, value)
        page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
        assert page.requests == [report[0].resolve().as_uri()]
        assert page.console and all("127.0.0.1:9" in line and "Security Policy" in line for line in page.console)
