"""What is tried next, by one process or several, and by one that comes after an interrupted one."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from clearmargin.errors import DiskError, RunFolderError, WorkError
from clearmargin.recipe_spaces import Choices, Range

pytest.importorskip("optuna", reason="tuning needs optuna")

from clearmargin.tuning import journal, workers
from clearmargin.tuning.journal import one_at_a_time
from clearmargin.tuning.search import Search
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
        one.say_done()
        assert not one.close()  # the other may want more
        assert not other.closed
        other.say_done()
        assert one.close()
        assert one.closed
        assert other.closed
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


def test_a_damaged_journal_is_said_so(tmp_path):
    with opened(tmp_path) as search:
        tell_all(search, 2)
    for damage in (b"this is no journal\n" * 3, b"[1, 2]\n", b'{"op_code": 99}\n', b"3\n"):
        (tmp_path / "journal.log").write_bytes(damage)
        with pytest.raises(RunFolderError, match="journal of the search"):
            opened(tmp_path)


def test_a_journal_that_is_damaged_meanwhile_is_said_so(tmp_path):
    with opened(tmp_path) as search:
        tell_all(search, 2)
        with (tmp_path / "journal.log").open("ab") as file:
            file.write(b"this is no journal\n" * 3)
        for look in (search.finished, search.close, lambda: search.ask(9)):
            with pytest.raises(RunFolderError, match="journal of the search"):
                look()


def test_a_mistake_of_the_program_is_not_called_a_damaged_journal(tmp_path, monkeypatch):
    with opened(tmp_path) as search:

        def mistaken(*_):
            raise ValueError("a mistake of ours")

        monkeypatch.setattr(search._study, "ask", mistaken)
        with pytest.raises(ValueError, match="a mistake of ours"):
            search.ask(9)


def test_a_search_of_which_one_process_wants_more_is_not_closed_by_another(tmp_path):
    with opened(tmp_path) as hasty:
        with opened(tmp_path) as patient:
            tell_all(hasty, 2)
            hasty.say_done()
            assert not hasty.close()  # between two trials of the other, all are finished
            assert patient.ask(3).number == 3
        with opened(tmp_path) as later:
            left = hasty.ask(2, left_behind=True)
            left.tell("complete", 0.5)
            assert not hasty.close()
            later.say_done()
            assert hasty.close()


def test_a_process_that_was_killed_is_not_waited_for(tmp_path):
    program = (
        "import os, runpy, sys; from pathlib import Path\n"
        f"there = runpy.run_path({workers.__file__!r})['Workers'](Path(sys.argv[1]) / 'workers')\n"
        "if sys.argv[2]:\n    there.say_done()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    for said in ("", "done"):
        words = [sys.executable, "-c", program, str(tmp_path), said]
        assert subprocess.run(words, check=False).returncode == -9
    assert len(list((tmp_path / "workers").iterdir())) == 3
    with opened(tmp_path) as search:
        tell_all(search, 2)
        search.say_done()
        assert search.close()
    assert not list((tmp_path / "workers").iterdir())


@pytest.fixture
def open_files_stay(monkeypatch):
    """No file is removed while this process holds its lock, as on Windows."""
    held, unlink = set(), Path.unlink

    class Lock(workers.FileLock):
        def acquire(self, *words, **named):
            got = super().acquire(*words, **named)
            held.add(str(self.lock_file))
            return got

        def release(self, *words, **named):
            super().release(*words, **named)
            held.discard(str(self.lock_file))

    def refused(path, *words, **named):
        if str(path) in held:
            raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used")
        unlink(path, *words, **named)

    monkeypatch.setattr(workers, "FileLock", Lock)
    monkeypatch.setattr(Path, "unlink", refused)


@pytest.mark.usefixtures("open_files_stay")
def test_lock_files_are_removed_where_open_files_stay(tmp_path):
    one = workers.Workers(tmp_path)
    (tmp_path / "gone.lock").touch()
    (tmp_path / "gone.done").touch()
    assert not one.is_there("gone")
    assert [path.name for path in tmp_path.iterdir()] == [f"{one.own}.lock"]
    one.say_done()
    one.leave()
    assert not list(tmp_path.iterdir())


def test_a_lock_is_free_again_when_its_file_can_not_be_removed(tmp_path, monkeypatch):
    one = workers.Workers(tmp_path)
    lock = tmp_path / "gone.lock"
    lock.touch()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Denied")))
        assert not one.is_there("gone")
    with FileLock(lock, timeout=0):
        assert one.is_there("gone")
    one.leave()


def test_a_search_without_a_result_stays_open(tmp_path):
    with opened(tmp_path) as search:
        with pytest.raises(WorkError, match=r"No trial was begun.*--minutes"):
            search.close()
        search.ask(9).tell("diverged", None, note="Training diverged in epoch 1.")
        with pytest.raises(WorkError, match=r"1 diverged.*more --trials than 1.*diverged in epoch 1\."):
            search.close()
        assert not search.closed
        search.ask(9).tell("complete", 0.5)
        assert search.close()


def test_the_seconds_of_a_trial_count_those_before_it_was_interrupted(tmp_path):
    with opened(tmp_path) as search:
        search.ask(9).tell("complete", 0.5, trained_seconds=77.25)
        search.ask(9).tell("complete", 0.5, trained_seconds=0.0)
        first, second = search.finished()
    assert first.seconds == 77.25
    assert 0 <= second.seconds < 60


def test_what_the_file_system_refuses_is_one_error(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    search = opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        search.__exit__(None, None, None)  # or it would hide what went wrong inside
    with opened(tmp_path) as search, monkeypatch.context() as patch:
        patch.setattr(FileLock, "acquire", refused)
        for work in (search.alone, lambda: one_at_a_time(tmp_path / "x.lock", list), lambda: opened(tmp_path / "new")):
            with pytest.raises(DiskError, match=r"can't be kept.*Read-only"), work():
                pass
        for ask in (search.say_done, search.close, lambda: search.ask(9)):
            with pytest.raises(DiskError, match=r"can't be kept.*Read-only"):
                ask()


def test_one_at_a_time_waits_for_the_other_and_takes_the_lock_when_it_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAIT_SECONDS", 0.0)
    other = FileLock(tmp_path / "x.lock")
    other.acquire()
    waited = []

    def waiting():
        waited.append(1)
        if len(waited) == 3:
            other.release()

    with one_at_a_time(tmp_path / "x.lock", waiting):
        assert len(waited) == 3
        with pytest.raises(TimeoutError):
            other.acquire(timeout=0)
    other.acquire(timeout=0)
    other.release()
