"""What is tried next, by one process or several, and by one that comes after an interrupted one."""

import subprocess
import sys
from pathlib import Path

import pytest

from clearmargin.errors import RunFolderError
from clearmargin.recipe_spaces import Choices, Range

pytest.importorskip("optuna", reason="tuning needs optuna")

from clearmargin.tuning.search import Search, only_one
from clearmargin.tuning.trials import best_of

SPACES = {
    "rate": Range(1e-4, 1e-1, True, None, False, 1e-2),
    "width": Range(4, 32, False, 4, True, 16),
    "kind": Choices(("a", "b", True, 3), "a"),
}
UNTUNED = {"rate": 1e-2, "width": 16, "kind": "a"}


def score(settings):
    return -abs(settings["rate"] - 0.03) - 0.01 * (settings["kind"] != "b") - 1e-4 * settings["width"]


def opened(folder, seed=5):
    return Search(folder, SPACES, UNTUNED, seed, steps=8)


def tell_all(search, most):
    while (asked := search.ask(most)) is not None:
        asked.tell("complete", score(asked.settings), measures={"m": 1.0}, epochs_run=8, best_epoch=3)


def test_the_first_trial_is_the_untuned_one_and_the_others_stay_within_the_spaces(tmp_path):
    with opened(tmp_path) as search:
        tell_all(search, 25)
        done = search.finished()
    assert [trial.number for trial in done] == list(range(1, 26))
    assert done[0].settings == UNTUNED
    for trial in done:
        assert 1e-4 <= trial.settings["rate"] <= 1e-1
        assert trial.settings["width"] in range(4, 33, 4)
        assert trial.settings["kind"] in SPACES["kind"].values
        assert trial.score == score(trial.settings)
    assert best_of(done).score == max(trial.score for trial in done) > done[0].score


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path):
    with opened(tmp_path / "whole") as search:
        tell_all(search, 18)
        whole = search.finished()
    for stop in (1, 2, 7, 13):  # each leaves a trial undone
        with opened(tmp_path / "broken") as search:
            tell_all(search, stop - 1)
            assert search.ask(18) is not None
    with opened(tmp_path / "broken") as search:
        tell_all(search, 18)
        again = search.finished()
    assert [(trial.number, trial.settings, trial.score) for trial in again] == [
        (trial.number, trial.settings, trial.score) for trial in whole
    ]


def test_another_seed_searches_elsewhere(tmp_path):
    tried = []
    for seed in (1, 2):
        with opened(tmp_path / str(seed), seed) as search:
            tell_all(search, 4)
            tried.append([trial.settings for trial in search.finished()])
    assert tried[0][0] == tried[1][0]
    assert tried[0][1:] != tried[1][1:]


def test_two_processes_share_the_trials_and_each_leaves_the_others_alone(tmp_path):
    with opened(tmp_path) as one, opened(tmp_path) as other:
        first, second = one.ask(3), other.ask(3)
        assert (first.number, second.number) == (1, 2)
        assert first.settings != second.settings
        assert not one.close()
        third = one.ask(3)
        assert third.number == 3
        assert other.ask(3) is None
        for asked in (second, third, first):
            asked.tell("complete", score(asked.settings))
        assert [trial.number for trial in other.finished()] == [1, 2, 3]


def test_a_trial_of_a_process_that_was_killed_is_tried_by_the_next(tmp_path):
    program = (
        "import os, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path.cwd())!r})\n"
        "from tests.tuning.test_search import opened\n"
        "search = opened(Path(sys.argv[1])); asked = search.ask(9); print(asked.settings['rate'], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert killed.returncode == -9
    with opened(tmp_path) as search:
        asked = search.ask(9)
        assert asked.number == 1
        assert asked.settings == UNTUNED
        assert float(killed.stdout) == UNTUNED["rate"]


@pytest.mark.parametrize("place", range(1, 60, 2))
def test_killed_at_any_line_of_the_journal_it_goes_on_to_the_same_trials(tmp_path, place):
    whole = whole_course(tmp_path / "whole")
    journal = (tmp_path / "whole" / "journal.log").read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut"
    cut.mkdir()
    lines = journal[: len(journal) * place // 60]
    torn = [lines.pop()[:-9]] if lines and place % 4 == 1 else []
    (cut / "journal.log").write_bytes(b"".join([*lines, *torn]))
    assert whole_course(cut) == whole


def whole_course(folder):
    with opened(folder) as search:
        while (asked := search.ask(7)) is not None:
            reached = score(asked.settings)
            given_up = next((step for step in range(1, 8) if asked.hopeless(reached - 1 / step, step)), 0)
            asked.tell("pruned" if given_up else "complete", None if given_up else reached, epochs_run=given_up or 8)
        return [(one.number, one.outcome, one.settings, one.score, one.epochs_run) for one in search.finished()]


def test_a_search_that_is_closed_asks_for_nothing_more(tmp_path):
    with opened(tmp_path) as one, opened(tmp_path) as other:
        first, second = one.ask(9), other.ask(9)
        first.tell("complete", 1.0)
        assert not one.close()
        second.tell("complete", 0.5)
        assert one.close()
        assert one.closed == other.closed == 2
        assert other.ask(9) is None
    with opened(tmp_path) as later:
        assert later.ask(9) is None


def test_how_often_a_trial_was_begun_is_counted(tmp_path):
    for begins in range(1, 6):
        with opened(tmp_path) as search:
            asked = search.ask(9)
            assert (asked.number, asked.begins) == (1, begins)


def test_the_untuned_trial_is_never_given_up(tmp_path):
    with opened(tmp_path) as search:
        untuned, other = search.ask(9), search.ask(9)
        assert not any(other.hopeless(0.9, step) for step in range(1, 8))
        other.tell("complete", 0.9)
        assert not any(untuned.hopeless(0.1, step) for step in range(1, 8))


def test_what_has_no_score_is_worse_than_what_has_one(tmp_path):
    with opened(tmp_path) as search:
        for outcome in ("diverged", "refused", "complete"):
            asked = search.ask(9)
            asked.tell(outcome, 0.5 if outcome == "complete" else None, note="why")
        done = search.finished()
        assert [trial.outcome for trial in done] == ["diverged", "refused", "complete"]
        assert [trial.score for trial in done] == [None, None, 0.5]
        assert best_of(done) is done[2]
        assert best_of(done[:2]) is None
        assert search.importance() == {}


def test_successive_halving_gives_up_what_lags_behind(tmp_path):
    with opened(tmp_path) as search:
        kept = []
        for number in range(9):
            asked = search.ask(9)
            given_up = any(asked.hopeless(0.9 - 0.1 * number, step) for step in range(1, 8))
            kept.append(not given_up)
            asked.tell("pruned" if given_up else "complete", None if given_up else 0.9 - 0.1 * number)
    assert kept[0]
    assert not any(kept[1:])


def test_importance_finds_the_setting_that_matters(tmp_path):
    with opened(tmp_path) as search:
        while (asked := search.ask(30)) is not None:
            asked.tell("complete", float(asked.settings["kind"] == "b"))
        shares = search.importance()
    assert max(shares, key=shares.get) == "kind"
    assert sum(shares.values()) == pytest.approx(1)


def test_a_damaged_journal_is_said_so(tmp_path):
    with opened(tmp_path) as search:
        tell_all(search, 2)
    for damage in (b"this is no journal\n" * 3, b"[1, 2]\n", b'{"op_code": 99}\n', b"3\n"):
        (tmp_path / "journal.log").write_bytes(damage)
        with pytest.raises(RunFolderError, match="journal of the search"):
            opened(tmp_path)


def test_only_one_is_first(tmp_path):
    with only_one(tmp_path / "x.lock") as first:
        assert first
    with only_one(tmp_path / "x.lock") as first:
        assert first
