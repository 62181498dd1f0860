"""Numbers of a report, against scipy, brute force and sums by hand."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from run_directories import write_full, write_run, write_study
from scipy import stats
from scipy.integrate import trapezoid

from seg_al.config import UserError
from seg_al.reporting import analysis, query_analysis, run_analysis
from seg_al.reporting.reading import read_runs
from seg_al.reporting.runs import Runs

SCORES = {
    # rows are seeds; the first round is shared
    "random": np.array([[0.30, 0.40, 0.50], [0.32, 0.41, 0.52], [0.28, 0.36, 0.51], [0.31, 0.44, 0.49]]),
    "vaal": np.array([[0.30, 0.46, 0.56], [0.32, 0.45, 0.57], [0.28, 0.44, 0.55], [0.31, 0.45, 0.58]]),
    "mc": np.array([[0.30, 0.41, 0.50], [0.32, 0.42, 0.51], [0.28, 0.37, 0.54], [0.31, 0.43, 0.50]]),
}


def make(folder: Path, scores: dict[str, np.ndarray] = SCORES, **options: object) -> Runs:
    for name, rows in scores.items():
        for seed, row in enumerate(rows):
            known = [float(value) for value in row if not math.isnan(value)]
            write_run(folder / name / f"seed{seed}", known, planned=len(row), **options)  # type: ignore[arg-type]
    return read_runs([folder])


def test_curves_are_means_with_t_intervals(tmp_path: Path) -> None:
    table = analysis.curve_table(make(tmp_path)).set_index(["strategy", "labeled"])
    for name, rows in SCORES.items():
        for column, labeled in enumerate((10, 20, 30)):
            values = rows[:, column]
            low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
            assert table.loc[(name, labeled)].tolist() == pytest.approx([values.mean(), low, high, 4])


def test_rounds_under_way_count_for_the_seeds_that_have_them(tmp_path: Path) -> None:
    rows = np.array([[0.2, 0.4, 0.6], [0.3, 0.5, np.nan]])
    table = analysis.curve_table(make(tmp_path, {"vaal": rows}))
    assert table["n"].tolist() == [2, 2, 1]
    assert table["mean"].tolist() == pytest.approx([0.25, 0.45, 0.6]) and math.isnan(table["low"].iloc[-1])


def test_cost_is_the_time_until_a_rounds_model_is_there(tmp_path: Path) -> None:
    seconds = {"train": 10.0, "acquisition": 5.0, "score": 2.0, "select": 1.0, "evaluate": 100.0}
    write_run(tmp_path / "vaal/seed0", [0.1, 0.2, 0.3], seconds=seconds)
    write_run(tmp_path / "vaal/seed1", [0.1, 0.2, 0.3], seconds={**seconds, "train": 20.0})
    write_run(tmp_path / "old/seed0", [0.1, 0.2, 0.3], seconds={"train": 10.0})
    table = analysis.cost_table(read_runs([tmp_path])).set_index("strategy")
    # seed 0: 10, 10+8+10, 28+8+10; seed 1: 20, 48, 76
    assert table.loc["vaal", "seconds"].tolist() == [15, 38, 61]
    assert len(table.loc[["old"]]) == 1  # the first model's time is known, later ones' is not


def test_cost_after_a_round_that_is_missing_is_not_known(tmp_path: Path) -> None:
    write_run(tmp_path / "vaal/seed0", [0.1, 0.2, 0.3])
    write_run(tmp_path / "vaal/seed1", [0.1, 0.2, 0.3])
    shutil.rmtree(tmp_path / "vaal/seed1/rounds/01")
    table = analysis.cost_table(read_runs([tmp_path]))
    assert table["n"].tolist() == [2, 1, 1]
    assert table["seconds"].tolist() == [10, 10 + 3.5 + 10, 2 * (10 + 3.5) + 10]  # of the whole run alone


def test_areas_are_means_over_the_budgets(tmp_path: Path) -> None:
    table = analysis.area_table(make(tmp_path)).set_index("strategy")
    for name, rows in SCORES.items():
        expected = trapezoid(rows, [10, 20, 30], axis=1) / 20
        low, high = stats.t.interval(0.95, 3, expected.mean(), stats.sem(expected))
        assert table.loc[name].tolist() == pytest.approx([expected.mean(), low, high, 4])


def test_an_area_is_of_all_budgets_and_of_no_run_under_way(tmp_path: Path) -> None:
    rows = SCORES["vaal"].copy()
    rows[3, 2] = np.nan
    runs = make(tmp_path, {"random": SCORES["random"], "vaal": rows})
    assert analysis.area_budgets(runs).tolist() == [10, 20, 30]
    assert analysis.area_table(runs)["n"].tolist() == [4, 3]


def test_areas_of_runs_at_other_budgets_are_over_the_shared_ones(tmp_path: Path) -> None:
    write_run(tmp_path / "a/seed0", [0.1, 0.3, 0.5], budget=10)  # 10, 20, 30
    write_run(tmp_path / "b/seed0", [0.2, 0.4], budget=20)  # 10, 30
    runs = read_runs([tmp_path])
    assert analysis.area_budgets(runs).tolist() == [10, 30]  # b will never be at 20
    assert analysis.area_table(runs)["mean"].tolist() == pytest.approx([0.3, 0.3])
    write_run(tmp_path / "e/seed0", [0.2], budget=20, planned=3, phase="train")  # will be at 10, 30 and 50
    assert analysis.area_budgets(read_runs([tmp_path])).tolist() == [10, 30]
    write_run(tmp_path / "c/seed0", [0.2, 0.9, 0.4], budget=15)  # 10, 25, 40
    write_run(tmp_path / "d/seed0", [0.2], budget=15)
    assert analysis.area_budgets(read_runs([tmp_path])).tolist() == [10]


def sign_flip(differences: np.ndarray) -> float:
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=len(differences))]
    return float(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-12))


def test_differences_are_paired_and_corrected_over_the_strategies_at_a_budget(tmp_path: Path) -> None:
    table = analysis.difference_table(make(tmp_path), "random")
    assert list(dict.fromkeys(table["at"])) == ["AUBC", 20, 30]  # nothing differs at 10: one shared model
    values = {20: {n: rows[:, 1] for n, rows in SCORES.items()}, 30: {n: rows[:, 2] for n, rows in SCORES.items()}}
    values["AUBC"] = {name: trapezoid(rows, [10, 20, 30], axis=1) / 20 for name, rows in SCORES.items()}
    for at, scores in values.items():
        rows = table[table["at"] == at].set_index("strategy")
        tests = {name: stats.ttest_rel(scores[name], scores["random"]) for name in ("vaal", "mc")}
        smaller, larger = sorted(tests, key=lambda name: tests[name].pvalue)
        adjusted = {smaller: min(1, 2 * tests[smaller].pvalue)}
        adjusted[larger] = max(adjusted[smaller], tests[larger].pvalue)
        for name, test in tests.items():
            differences = scores[name] - scores["random"]
            ends = test.confidence_interval(0.95)
            row = rows.loc[name]
            assert row[["mean", "low", "high"]].tolist() == pytest.approx([differences.mean(), ends.low, ends.high])
            assert row["p"] == pytest.approx(test.pvalue) and row["p_holm"] == pytest.approx(adjusted[name])
            assert row["p_sign_flip"] == sign_flip(differences) and row["p_smallest"] == 2 / 2**4 and row["n"] == 4


def test_differences_are_over_seeds_that_both_have(tmp_path: Path) -> None:
    runs = make(tmp_path, {"random": SCORES["random"], "vaal": SCORES["vaal"][:2]})
    table = analysis.difference_table(runs, "random")
    expected = (SCORES["vaal"][:2, 2] - SCORES["random"][:2, 2]).mean()
    row = table[table["at"] == 30].iloc[0]
    assert row["n"] == 2 and row["mean"] == pytest.approx(expected) and row["p_smallest"] == 0.5


def test_labels_needed_and_saved_by_hand(tmp_path: Path) -> None:
    linear = np.array([[0.2, 0.4, 0.6]] * 2)
    runs = make(tmp_path, {"random": linear, "fast": linear + np.array([0, 0.2, 0.2]), "slow": linear / 2})
    write_full(tmp_path / "full/seed0", 0.5)
    write_full(tmp_path / "full/seed1", 0.6)
    runs = read_runs([tmp_path])
    levels = analysis.reached_levels(runs, [0.3])
    assert levels == pytest.approx({"90 % of full": 0.495, "95 % of full": 0.5225, "30 %": 0.3})
    needed = analysis.labels_needed(runs, levels, "random", resamples=50)
    assert str(needed["30 %", "random"][0]) == "15 [15, 15]"
    assert needed["30 %", "fast"][0].estimate.labels == pytest.approx(12.5)
    assert str(needed["30 %", "fast"][1]) == "17 % [17 %, 17 %]"  # 1 − 12.5/15
    assert str(needed["90 % of full", "slow"][0]) == "> 30 [> 30, > 30]"
    assert needed["90 % of full", "random"][1] is None
    # random needs 10 + (0.495 − 0.4)/0.2·10 + 10 = 24.75, slow more than 30: it saves at most 1 − 30/24.75
    saving = needed["90 % of full", "slow"][1]
    assert saving and saving.estimate.bound == "<=" and saving.estimate.value == pytest.approx(1 - 30 / 24.75)
    table = analysis.labels_needed_table(needed, levels).set_index(["strategy", "level"])
    assert table.loc[("slow", "90 % of full"), ["labels", "labels_bound", "saving_bound"]].tolist() == [30, ">", "<="]


def test_levels_are_scores(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--levels are scores from 0 to 1, as 0\.45, not 45"):
        analysis.reached_levels(make(tmp_path), [45])
    assert analysis.reached_levels(read_runs([tmp_path])) == {}  # no full data


def test_penalties_count_the_budgets_won(tmp_path: Path) -> None:
    matrix = analysis.penalties(make(tmp_path))
    won = [stats.ttest_rel(SCORES["vaal"][:, k], SCORES["mc"][:, k]) for k in (1, 2)]
    assert matrix.loc["vaal", "mc"] == np.mean([t.pvalue < 0.05 and t.statistic > 0 for t in won])
    assert matrix.loc["vaal", "random"] > 0 and matrix.loc["random", "vaal"] == 0


def test_random_is_found_by_its_name(tmp_path: Path) -> None:
    runs = make(tmp_path, {"vaal": SCORES["vaal"], "Random_": SCORES["random"], "random_crops": SCORES["mc"]})
    assert analysis.find_random(runs) == "Random_"
    assert analysis.find_random(runs, "random_crops") == "random_crops"
    with pytest.raises(UserError, match="no strategy 'vall' among the runs; did you mean 'vaal'"):
        analysis.find_random(runs, "vall")
    write_run(tmp_path / "more/random/seed0", [0.1])
    assert analysis.find_random(read_runs([tmp_path])) == "random"  # the very name wins
    write_run(tmp_path / "again/random/seed0", [0.1])
    assert analysis.find_random(read_runs([tmp_path])) is None  # two of them: none is meant
    runs = make(
        tmp_path / "word", {"vaal": SCORES["vaal"], "cifar10_random": SCORES["random"], "randomized": SCORES["mc"]}
    )
    assert analysis.find_random(runs) == "cifar10_random"


def test_scores_of_classes_leave_out_what_was_not_measured(tmp_path: Path) -> None:
    for seed, bus in ((0, None), (1, 0.4)):
        write_run(tmp_path / f"vaal/seed{seed}", [0.5], classes=[{"road": 0.8 + seed / 10, "bus": bus, "tram": None}])
    table = analysis.class_table(read_runs([tmp_path])).set_index("class")
    assert table.loc["road", "mean"] == pytest.approx(0.85) and table.loc["road", "n"] == 2
    assert table.loc["bus", "mean"] == 0.4 and table.loc["bus", "n"] == 1
    assert "tram" not in table.index


# What was queried


def test_class_shares_of_queries_and_of_the_pool(tmp_path: Path) -> None:
    pool = {"size": 10, "pixels": {"road": 80, "car": 20, "bus": 0}, "images": {"road": 10, "car": 4, "bus": 0}}
    write_study(tmp_path, ["vaal"], [0, 1], pool=pool)

    def notes(road: int, car: int) -> dict[str, dict[str, int]]:
        return {"pixels": {"road": road, "car": car, "bus": 0}, "images": {"road": 2, "car": 1, "bus": 0}}

    write_run(tmp_path / "vaal/seed0", [0.1, 0.2, 0.3], budget=2, about=[notes(30, 10), notes(20, 40)])
    write_run(tmp_path / "vaal/seed1", [0.1, 0.2, 0.3], budget=2, about=[notes(70, 10), notes(10, 10)])
    shares = query_analysis.class_shares(read_runs([tmp_path]))
    table = shares.set_index(["of", "class"])
    assert table.loc[("pool", "car"), ["pixels", "images"]].tolist() == [0.2, 0.4]
    # seed 0: 50 of 100 car pixels, seed 1: 20 of 100; 2 of 4 images show a car in both
    assert table.loc[("vaal", "car"), ["pixels", "images", "n"]].tolist() == pytest.approx([0.35, 0.5, 2])
    assert query_analysis.reference_of(shares, "vaal") == "pool"
    ratios = query_analysis.representation(shares, "pool")["vaal"]
    assert ratios[["road", "car"]].tolist() == pytest.approx([0.65 / 0.8, 0.35 / 0.2]) and math.isnan(ratios["bus"])


def test_without_a_pool_classes_are_compared_with_randoms_queries(tmp_path: Path) -> None:
    for name, car in (("random", 10), ("vaal", 30)):
        about = [{"pixels": {"road": 90, "car": car}, "images": {"road": 1, "car": 1}}]
        write_run(tmp_path / name / "seed0", [0.1, 0.2], about=about)
    write_run(tmp_path / "old/seed0", [0.1, 0.2])
    shares = query_analysis.class_shares(read_runs([tmp_path]))
    assert query_analysis.reference_of(shares, "random") == "random"
    assert query_analysis.reference_of(shares, None) is None
    ratios = query_analysis.representation(shares, "random")
    assert list(ratios.columns) == ["vaal"] and ratios.loc["car", "vaal"] == pytest.approx(0.25 / 0.1)


def test_overlaps_are_between_strategies_of_one_seed_and_seeds_of_one_strategy(tmp_path: Path) -> None:
    queries = {
        ("a", 0): [["a050", "a051"], ["a052", "a053"]],
        ("b", 0): [["a051", "a052"], ["a060", "a061"]],
        ("a", 1): [["a050", "a070"], ["a071", "a072"]],
        ("b", 1): [["a070", "a050"]],  # one round less
    }
    for (name, seed), picks in queries.items():
        write_run(tmp_path / name / f"seed{seed}", [0.1] * (len(picks) + 1), queries=picks)
    matrix, pairs = query_analysis.overlap_matrix(read_runs([tmp_path]))
    # seed 0: {50, 51, 52, 53} and {51, 52, 60, 61}: 2 of 6; seed 1, first round: the same 2 of 2
    assert matrix.loc["a", "b"] == matrix.loc["b", "a"] == pytest.approx((2 / 6 + 1) / 2)
    assert matrix.loc["a", "a"] == pytest.approx(1 / 7) and matrix.loc["b", "b"] == 0
    assert pairs.loc["a", "b"] == 2 and pairs.loc["a", "a"] == 1


def test_overlaps_are_of_the_same_rounds_where_one_is_missing(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name / "seed0", [0.1, 0.2, 0.3], queries=[["a050", "a051"], ["a052", "a053"]])
    shutil.rmtree(tmp_path / "b/seed0/rounds/00")
    assert query_analysis.overlap_matrix(read_runs([tmp_path]))[0].loc["a", "b"] == 1


def test_redundancy_is_by_the_labels_before_the_query(tmp_path: Path) -> None:
    for seed in (0, 1):
        about = [{"redundancy": 0.8 + seed / 10}, {"redundancy": 0.5}]
        write_run(tmp_path / f"vaal/seed{seed}", [0.1, 0.2, 0.3], about=about)
    table = query_analysis.redundancy_table(read_runs([tmp_path]))
    assert table["labeled"].tolist() == [10, 20] and table["mean"].tolist() == pytest.approx([0.85, 0.5])


def test_new_sequences_are_those_without_a_labeled_image_at_that_round(tmp_path: Path) -> None:
    queries = [["s2_1", "s1_7", "s3_1", "s2_2"], ["s2_9", "s4_0", "x", "s4_1"]]
    write_run(tmp_path / "vaal/seed0", [0.1, 0.2, 0.3], labeled=["s1_0", "s1_1"], queries=queries)
    table = query_analysis.new_sequence_table(read_runs([tmp_path]), "[^_]*_")
    # s2, s3, s2 are new, s1 is not; then s4, s4 and x, which is a sequence of its own, s2 no more
    assert table["labeled"].tolist() == [2, 6] and table["mean"].tolist() == [0.75, 0.75]
    with pytest.raises(UserError, match="no regular expression"):
        query_analysis.new_sequence_table(read_runs([tmp_path]), "(")


# The runs themselves


def test_time_is_by_phase_and_a_querys_phases_over_rounds_with_a_query(tmp_path: Path) -> None:
    seconds = {"train": 10.0, "acquisition": 4.0, "score": 2.0, "select": 1.0, "evaluate": 3.0}
    write_run(tmp_path / "vaal/seed0", [0.1, 0.2, 0.3], seconds=seconds)
    last = tmp_path / "vaal/seed0/rounds/02/metrics.json"
    last.write_text(last.read_text().replace('"acquisition": 4.0', '"acquisition": 0.0'))
    row = run_analysis.time_table(read_runs([tmp_path])).iloc[0]
    assert row[list(run_analysis.PHASES)].tolist() == [10, 4, 2, 1, 3] and (row["rounds"], row["queries"]) == (3, 2)


def test_diagnostics_of_vaal_are_its_numbers(tmp_path: Path) -> None:
    for seed in (0, 1):
        noted = [{"vaal": {"auc": 0.5 + seed / 10, "kl_per_dim": [1, 2], "odd": None}}, {}]
        write_run(tmp_path / f"vaal/seed{seed}", [0.1, 0.2], diagnostics=noted)
    write_run(tmp_path / "random/seed0", [0.1, 0.2], diagnostics=[{"vaal": 3}])
    table = run_analysis.diagnostics_table(read_runs([tmp_path]))
    assert table[["diagnostic", "strategy", "labeled", "n"]].values.tolist() == [["auc", "vaal", 10, 2]]
    assert table["mean"].iloc[0] == pytest.approx(0.55)


def test_no_run_is_dropped_in_silence(tmp_path: Path) -> None:
    home = write_study(tmp_path / "s", ["vaal", "mc"], [0], full=True)
    write_run(home / "vaal/seed0", [0.1, 0.2], planned=3, phase="select")
    write_run(home / "full/seed0", [])
    table = run_analysis.problem_table(read_runs([home]))
    assert table[["run", "seed", "status"]].values.tolist() == [
        ["vaal", 0, "unfinished: 2 of 3 rounds"],
        ["mc", 0, "never started"],
        ["full", 0, "no round finished yet"],
    ]


def test_runs_that_differ_in_more_than_the_strategy_are_told(tmp_path: Path) -> None:
    def settings(name: str, seed: int, budget: int, *more: str) -> str:
        lines = (f"name='{name}'", f"strategy={name.title()}(\n        epochs=3,\n    )", f"seed={seed}", *more)
        return "config = Experiment(\n" + "".join(f"    {line},\n" for line in (*lines, f"budget={budget}")) + ")\n"

    for name in ("random", "vaal", "mc", "far"):
        for seed in (0, 1):
            write_run(tmp_path / name / f"seed{seed}", [0.1, 0.2])
            (tmp_path / name / f"seed{seed}/config.py").write_text(settings(name, seed, 20))
    assert run_analysis.settings_apart(read_runs([tmp_path])) == []
    (tmp_path / "mc/seed1/config.py").write_text(settings("mc", 1, 40))
    noisy = settings("far", 0, 20, "oracle=NoisyOracle(\n        rate=0.1,\n    )")
    (tmp_path / "far/seed0/config.py").write_text(noisy)
    (tmp_path / "far/seed1/config.py").unlink()
    write_full(tmp_path / "s/full/seed0", 0.5)
    assert run_analysis.settings_apart(read_runs([tmp_path])) == [
        "far: oracle=NoisyOracle(rate=0.1) where most have none",
        "mc: budget=40 where most have budget=20",
    ]


def test_seconds_saved_by_shared_first_rounds(tmp_path: Path) -> None:
    home = write_study(tmp_path / "s", ["a", "b", "c"], [0, 1])
    for seed in (0, 1):
        write_run(home / f"first_round/seed{seed}", [0.1], seconds={"train": 40.0, "evaluate": 10.0})
    for name in "abc":
        write_run(home / name / "seed0", [0.1, 0.2])
    write_run(home / "a/seed1", [0.1, 0.2])
    # seed 0: three took over what was trained once, seed 1: one
    assert run_analysis.seconds_saved(read_runs([home])) == (100.0, 100.0)
    other = write_study(tmp_path / "t", ["a", "b"], [0])
    write_run(other / "first_round/seed0", [0.1], seconds={"train": 3.0, "evaluate": 1.0})
    for name in "ab":
        write_run(other / name / "seed0", [0.1, 0.2])
    write_run(tmp_path / "alone/seed0", [0.1, 0.2])  # shares nobody's first round
    assert run_analysis.seconds_saved(read_runs([tmp_path])) == (104.0, 104.0)


def test_upper_bounds_of_two_studies_are_not_one(tmp_path: Path) -> None:
    for home, scores in (("s", (0.5, 0.7)), ("t", (0.9,))):
        for seed, score in enumerate(scores):
            write_full(tmp_path / home / f"full/seed{seed}", score)
    assert analysis.full_score(read_runs([tmp_path / "s"])) == pytest.approx(0.6)
    both = read_runs([tmp_path])
    assert math.isnan(analysis.full_score(both)) and analysis.reached_levels(both) == {}
    assert analysis.full_scores(both) == pytest.approx({"s/full": 0.6, "t/full": 0.9})
