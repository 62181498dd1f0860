"""Labeled and unlabeled samples; initial pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from tiny import tiny_experiment

from seg_al import FileInitial, RandomInitial, UserError
from seg_al.data.base import Dataset
from seg_al.data.cityscapes_classes import CityscapesClasses
from seg_al.pool import InitialPool, LeaveOut, MissingClasses, Pool, Stratified

IDS = [f"city/{index:02d}" for index in range(30)]


class Listed:
    """Samples of given ids and targets."""

    def __init__(self, ids: list[str], targets: list | None = None) -> None:
        self.ids, self.targets = ids, targets
        self.reads = 0

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        raise AssertionError("an initial pool has no use for images")

    def target(self, index: int) -> np.ndarray | None:
        self.reads += 1
        assert self.targets is not None, "labels were read that nobody needs"
        return None if self.targets[index] is None else np.asarray(self.targets[index])


class Named(Dataset):
    count: int = 10

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(f"class{k}" for k in range(self.count))


def choose(pool: InitialPool, seed: int = 0, samples: Listed | None = None, classes: int = 10) -> list[int]:
    return pool.choose(Named(count=classes), samples or Listed(IDS), seed)


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
    chosen = [choose(RandomInitial(size=20), seed) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 20 and all(type(index) is int for index in chosen[0])
    # a larger start contains a smaller one, so that studies of the initial size stay comparable
    assert choose(RandomInitial(size=5)) == chosen[0][:5]


@pytest.mark.parametrize(("size", "part"), [(31, "the pool holds 30"), (0, "at least 1"), (-2, "at least 1")])
def test_impossible_initial_sizes(size: int, part: str) -> None:
    for pool in (
        RandomInitial(size=size),
        Stratified(size=size, by="sequence"),
        LeaveOut(size=size, groups=("city/0",)),
    ):
        with pytest.raises(UserError, match=part):
            choose(pool, samples=Listed([name.replace("/0", "/0/") for name in IDS]))
    with pytest.raises(UserError, match=part):
        choose(MissingClasses(size=size, classes=1), samples=Listed(IDS, [k % 10 for k in range(30)]))


def test_file_initial_reads_ids_in_order(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("city/04\n\n city/02 \n", encoding="utf-8")
    assert choose(FileInitial(path=str(tmp_path / "ids.txt"))) == [4, 2]


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
        choose(FileInitial(path=str(file)))
    assert part in str(error.value) and str(file) in str(error.value)


# --- in proportion ---------------------------------------------------------------------------------------------------

CLASSES = [0] * 500 + [1] * 250 + [2] * 150 + [3] * 97 + [4] * 3
IMAGES = Listed([f"{index:04d}" for index in np.random.default_rng(0).permutation(1000)], CLASSES)


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        (100, [(50,), (25,), (15,), (10,), (0,)]),  # shares 50, 25, 15, 9.7, 0.3
        (10, [(5,), (2, 3), (1, 2), (1,), (0,)]),  # 5, 2.5, 1.5, 0.97, 0.03: one of two equal remainders
        (1000, [(500,), (250,), (150,), (97,), (3,)]),
        (1, [(1,), (0,), (0,), (0,), (0,)]),
    ],
)
def test_a_stratified_start_has_the_proportions_of_the_pool(size: int, counts: list[tuple[int, ...]]) -> None:
    seen = set()
    for seed in range(20):
        chosen = choose(Stratified(size=size), seed, IMAGES)
        assert len(set(chosen)) == size
        got = np.bincount(np.array(CLASSES)[chosen], minlength=5)
        assert all(count in allowed for count, allowed in zip(got, counts, strict=True)), got
        seen.add(tuple(got))
    assert len(seen) == max(map(len, counts)), "ties always fall to the same class"


def test_within_a_stratum_the_draw_is_uniform() -> None:
    hits = np.zeros(1000)
    for seed in range(100):
        hits[choose(Stratified(size=100), seed, IMAGES)] += 1
    low, high = binom.interval(0.999, 100 * 50, 0.5)  # of class 0's draws, those from its first half
    assert low <= hits[:250].sum() <= high and hits[:500].sum() == 100 * 50
    assert hits[:500].max() < 28  # 10 expected, standard deviation 3


def test_masks_are_stratified_by_sequence_and_not_read() -> None:
    ids = [
        f"{name}_{index:03d}"
        for name, count in (("0001TP", 60), ("Seq05VD", 30), ("a/b", 10))
        for index in range(count)
    ]
    chosen = choose(Stratified(size=20, by="sequence"), samples=Listed(ids))
    names = [ids[index].partition("_")[0] for index in chosen]
    assert [names.count(name) for name in ("0001TP", "Seq05VD", "a/b")] == [12, 6, 2]
    with pytest.raises(UserError, match="a mask is not of one class; set by='sequence'"):
        choose(Stratified(size=20), samples=Listed(ids, [np.zeros((2, 2), np.uint8)] * 100))
    chosen = choose(
        Stratified(size=10, by="sequence", sequence=".*/"), samples=Listed(["x/y/1", "x/z/1", "x/y/2"] * 10)
    )
    assert sorted(index % 3 for index in chosen) in ([0] * k + [1] * 3 + [2] * (7 - k) for k in range(8))


# --- without some classes --------------------------------------------------------------------------------------------

BALANCED = Listed([f"{index:04d}" for index in range(1000)], (np.arange(1000) % 10).tolist())


def test_no_initial_sample_is_of_the_missing_classes(capsys: pytest.CaptureFixture[str]) -> None:
    missing = set()
    for seed in range(30):
        chosen = choose(MissingClasses(size=400, classes=3), seed, BALANCED)
        absent = set(range(10)) - {index % 10 for index in chosen}
        assert len(absent) == 3 and len(set(chosen)) == 400
        assert chosen == choose(MissingClasses(size=400, classes=3), seed, BALANCED)
        said = capsys.readouterr().err
        assert "from 700 of 1000 images, without" in said and all(f"class{k}" in said for k in absent)
        missing.add(frozenset(absent))
    assert len(missing) > 20 and set.union(*map(set, missing)) == set(range(10)), "not chosen at random by the seed"


def test_a_biased_start_is_the_random_one_less_what_is_missing() -> None:
    everything = choose(RandomInitial(size=1000), 3, BALANCED)
    chosen = choose(MissingClasses(size=500, classes=("class0", "class7")), 3, BALANCED)
    assert chosen == [index for index in everything if index % 10 not in (0, 7)][:500]


def masks(shares: dict[int, float], count: int = 100) -> Listed:
    """Return samples whose masks show class c in that share of images, in one pixel; the rest is class 0 and void."""
    rng = np.random.default_rng(0)
    targets = [np.zeros((4, 5), np.uint8) for _ in range(count)]
    for target in targets:
        target[0] = 255
    for class_id, share in shares.items():
        for index in rng.permutation(count)[: round(share * count)]:
            targets[index][3, class_id % 5] = class_id
    return Listed([f"{index:03d}" for index in range(count)], targets)


def test_with_masks_an_image_is_left_out_for_one_pixel_of_a_rare_class() -> None:
    shares = {1: 0.9, 2: 0.05, 3: 0.3, 4: 0.5, 5: 0.51}  # 6 to 9 are in no image
    samples = masks(shares)
    left_out = set()
    for seed in range(40):
        chosen = choose(MissingClasses(size=30, classes=2), seed, samples)
        shown = set(np.concatenate([samples.targets[index].ravel() for index in chosen]).tolist())  # type: ignore[index]
        left_out |= {2, 3, 4} - shown
        assert len({2, 3, 4} & shown) <= 1 and {0, 1} <= shown, "rare: at most half of the images"
    assert left_out == {2, 3, 4}
    with pytest.raises(UserError, match="only 3 of 10 classes are shown by at most 50% of the pool's images"):
        choose(MissingClasses(size=5, classes=4), 0, samples)
    with pytest.raises(UserError, match="only 1 of 10 classes are shown by at most 20%"):
        choose(MissingClasses(size=5, classes=2, rare=0.2), 0, samples)
    with pytest.raises(
        UserError, match=r"initial is 20, but only 10 of 100 images are left without class1; lower size"
    ):
        choose(MissingClasses(size=20, classes=("class1",)), 0, masks({1: 0.9}, 100))


def test_labels_of_more_than_255_classes() -> None:
    samples = Listed([f"{index:04d}" for index in range(600)], [index % 300 for index in range(600)])
    chosen = choose(MissingClasses(size=598, classes=("class255",)), 0, samples, classes=300)
    assert {index % 300 for index in chosen} == set(range(300)) - {255}


def test_missing_labels_and_unknown_classes_are_named() -> None:
    with pytest.raises(UserError, match="0003: has no label; an initial pool that goes by classes needs those of all"):
        choose(MissingClasses(size=1, classes=1), samples=Listed(BALANCED.ids, [0, 1, 2, None] * 250))
    unread = Listed(BALANCED.ids)
    with pytest.raises(
        UserError, match=r"MissingClasses\.classes: Named has no class 'clas7'; did you mean 'class7'\?"
    ):
        choose(MissingClasses(size=1, classes=("clas7",)), samples=unread)
    assert unread.reads == 0, "a mistake in the settings shows before all labels are read"


# --- without some sequences ------------------------------------------------------------------------------------------

CITIES = Listed(
    [f"{city}/{city}_{index:06d}_000019" for city in ("aachen", "bochum", "bochum2", "ulm") for index in range(25)]
)
CAMVID = Listed([f"{name}_{index:05d}" for name in ("0001TP", "0006R0", "Seq05VD") for index in range(20)])


@pytest.mark.parametrize(
    ("samples", "groups", "left"),
    [
        (CITIES, ("bochum",), {"aachen", "bochum2", "ulm"}),
        (CITIES, ("bochum/", "ulm/ulm"), {"aachen", "bochum2"}),
        (CAMVID, ("Seq05VD", "0001TP"), {"0006R0"}),
    ],
)
def test_no_initial_sample_is_from_what_is_left_out(samples: Listed, groups: tuple[str, ...], left: set[str]) -> None:
    chosen = choose(LeaveOut(size=20, groups=groups), samples=samples)
    everything = choose(RandomInitial(size=len(samples)), samples=samples)
    wanted = [index for index in everything if samples.ids[index].replace("/", "_").partition("_")[0] in left]
    assert chosen == wanted[:20]
    assert samples.reads == 0


def test_one_frame_range_of_a_sequence_can_be_left_out() -> None:
    chosen = choose(LeaveOut(size=59, groups=("0001TP_00003",)), samples=CAMVID)
    assert set(range(60)) - set(chosen) == {3}


def test_m_sequences_are_left_out_at_random_by_the_seed() -> None:
    left_out = set()
    for seed in range(20):
        chosen = choose(LeaveOut(size=50, groups=2), seed, CITIES)
        present = {CITIES.ids[index].partition("/")[0] for index in chosen}
        assert len(present) == 2
        left_out.add(frozenset(present))
    assert len(left_out) == 6
    with pytest.raises(
        UserError, match=r"LeaveOut\.groups is 4, but the pool has 4 sequences, such as 'aachen/aachen'"
    ):
        choose(LeaveOut(size=1, groups=4), 0, CITIES)
    one = choose(LeaveOut(size=25, groups=1, sequence=r"\w+?/\w+_\d{5}"), 0, CITIES)  # by tens of frames
    assert len(one) == 25


def test_groups_that_are_not_there_are_named() -> None:
    with pytest.raises(UserError, match="no id of the pool begins with 'aahen'; it has: aachen/aachen, bochum/bochum"):
        choose(LeaveOut(size=1, groups=("ulm", "aahen")), samples=CITIES)
    with pytest.raises(UserError, match="no id of the pool begins with 'Seq05'; did you mean 'Seq05VD'"):
        choose(LeaveOut(size=1, groups=("Seq05",)), samples=CAMVID)
    with pytest.raises(UserError, match="begins with 'nowhere'; ids look like '0000'"):
        choose(LeaveOut(size=1, groups=("nowhere",)), samples=BALANCED)
    with pytest.raises(UserError, match="only 40 of 60 images are left without Seq05VD"):
        choose(LeaveOut(size=41, groups=("Seq05VD",)), samples=CAMVID)


@pytest.mark.parametrize(
    ("pool", "settings", "part"),
    [
        (MissingClasses, {"classes": 0}, "MissingClasses.classes is 0; leave out at least 1"),
        (MissingClasses, {"classes": ()}, "leave out at least 1, or take initial=<number>"),
        (MissingClasses, {"classes": -1}, "MissingClasses.classes is -1"),
        (MissingClasses, {"classes": 1, "rare": 1.5}, "MissingClasses.rare is a share of the pool"),
        (LeaveOut, {"groups": 0}, "LeaveOut.groups is 0; leave out at least 1"),
        (LeaveOut, {"groups": 1, "sequence": "["}, "LeaveOut.sequence '[' is no regular expression"),
        (Stratified, {"by": "sequence", "sequence": "("}, "Stratified.sequence '(' is no regular expression"),
        (Stratified, {"by": "folder"}, "one of 'class', 'sequence'"),
    ],
)
def test_wrong_settings_are_named_at_once(pool: type[InitialPool], settings: dict, part: str) -> None:
    with pytest.raises(UserError) as error:
        pool(size=1, **settings)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_a_run_starts_from_a_biased_pool_and_goes_on_without_choosing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initial = LeaveOut(size=4, groups=("train/00", "train/01"), sequence="train/0.")
    with pytest.raises(UserError, match="no id of the pool begins with 'train/00'"):
        tiny_experiment(tmp_path, initial=initial, rounds=1).run()
    assert not (tmp_path / "tiny").exists()
    initial = LeaveOut(size=4, groups=tuple(f"train/{index:03d}" for index in range(30)))
    run = tiny_experiment(tmp_path, initial=initial, rounds=1).run()
    assert all(int(name[-3:]) >= 30 for name in (run / "rounds" / "00" / "labeled.txt").read_text().split())

    def again(*_: object) -> None:
        raise AssertionError("chosen again")

    monkeypatch.setattr(LeaveOut, "choose", again)
    tiny_experiment(tmp_path, initial=initial, rounds=1).run()


def test_cityscapes_categories_are_the_official_ones() -> None:
    official = {
        "flat": "road sidewalk", "construction": "building wall fence", "object": "pole,traffic light,traffic sign",
        "nature": "vegetation terrain", "sky": "sky", "human": "person rider",
        "vehicle": "car truck bus train motorcycle bicycle",
    }  # fmt: skip
    dataset = CityscapesClasses()
    for name, category in zip(dataset.class_names, dataset.categories, strict=True):
        assert name in official[category].split("," if "," in official[category] else " ")
