import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from launched import wait_until

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.training import TrainingSpec, meeting
from spar_core.training.meeting import Patience, driving, invited, join_trainings, node_rank

MakeSpec = Callable[..., TrainingSpec]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(meeting, "_BEAT_SECONDS", 0.05)
    monkeypatch.setattr(meeting, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(meeting, "_GRACE_SECONDS", 0.0)
    return tmp_path / "meeting"


class Follower(threading.Thread):
    """Another machine."""

    def __init__(self, folder: Path, patience: Patience = Patience()) -> None:  # noqa: B008 - immutable
        super().__init__(daemon=True)
        self._arguments = (folder, 1, self.hear, patience)
        self.said: list[str] = []
        self.error: TrainingError | None = None
        self.start()

    def hear(self, line: str) -> None:
        self.said.append(line)

    def run(self) -> None:
        try:
            join_trainings(*self._arguments)
        except TrainingError as error:
            self.error = error

    def ended(self) -> "Follower":
        self.join(20)
        assert not self.is_alive()
        return self


@pytest.fixture
def spec_file(make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training whose part on the other machine notes the name of the try, then does what `does` says."""
    launch = LaunchConfig(nodes=2, rendezvous="127.0.0.1:29500")
    spec = make_spec("sft", tmp_path / "m", launch=launch)
    (tmp_path / "does").write_text("")

    def command(spec: TrainingSpec, identity: str, file: Path, node: int, token: str) -> list[str]:
        note = f"open({str(tmp_path / 'tries')!r}, 'a').write({token + chr(10)!r})"
        return [sys.executable, "-c", f"{note}; exec(open({str(tmp_path / 'does')!r}).read())"]

    monkeypatch.setattr(meeting, "command", command)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    return tmp_path / "spec.json"


def tries(tmp_path: Path) -> list[str]:
    file = tmp_path / "tries"
    return file.read_text().split() if file.exists() else []


def test_every_try_of_a_training_is_joined_once(folder: Path, spec_file: Path, tmp_path: Path) -> None:
    follower = Follower(folder)
    with driving(folder):
        for count in (1, 2):
            with invited(folder, spec_file, "identity") as token:
                wait_until(lambda count=count: len(follower.said) == 2 * count, 20)
                assert tries(tmp_path)[-1] == token
    assert len(tries(tmp_path)) == 2
    assert follower.ended().error is None
    assert follower.said[1::2] == ["training ended here", "training ended here"]
    assert follower.said[-1] == "the run is finished"


def test_what_the_first_machine_gave_up_is_ended_here_too(folder: Path, spec_file: Path, tmp_path: Path) -> None:
    (tmp_path / "does").write_text("import time; time.sleep(600)")
    follower = Follower(folder)

    def interrupted() -> None:
        with driving(folder), invited(folder, spec_file, "identity"):
            wait_until(lambda: len(tries(tmp_path)) == 1, 20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "without finishing" in str(follower.ended().error)
    assert follower.said[-1] == "training broke off; waiting for the next try"


def test_the_end_of_an_earlier_run_is_not_taken_for_this_one_s(folder: Path) -> None:
    with driving(folder):
        pass
    follower = Follower(folder)
    with driving(folder):
        wait_until(lambda: json.loads((folder / "run").read_text()).get("beat", 0) > 2, 20)
        assert follower.is_alive()
    assert follower.ended().error is None


@pytest.mark.parametrize(("name", "value"), [("SLURM_STEP_ID", "1"), ("SLURM_RESTART_COUNT", "1")])
def test_one_of_the_same_launch_that_ended_first_is_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Not one of an earlier step, nor of the same step before its job was queued again."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    with pytest.raises(ZeroDivisionError), driving(folder):
        _ = 1 / 0
    assert "without finishing" in str(Follower(folder).ended().error)
    monkeypatch.setenv(name, value)
    later = Follower(folder, Patience(altogether=0.3)).ended()
    assert "nothing was heard" in str(later.error)


def test_a_beat_that_cannot_be_written_is_followed_by_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put, failures = meeting._put, iter([OSError("disk")] * 2)

    def sometimes(file: Path, content: dict[str, object]) -> None:
        if (error := next(failures, None)) is not None:
            raise error
        put(file, content)

    monkeypatch.setattr(meeting, "_put", sometimes)
    with driving(folder):
        wait_until((folder / "run").exists)


def test_a_training_that_this_version_cannot_read_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"of": "another version"}')
    with driving(folder):
        follower = Follower(folder)
        with invited(folder, tmp_path / "spec.json", "identity"):
            follower.ended()
    assert "install the same version of spar on all machines" in str(follower.error)


def test_silence_ends_what_was_joined_then_the_waiting(folder: Path, spec_file: Path, tmp_path: Path) -> None:
    (tmp_path / "does").write_text("import time; time.sleep(600)")
    folder.mkdir()
    (folder / "run").write_text(json.dumps({"state": "running", "token": "killed", "beat": 7}))
    with invited(folder, spec_file, "identity"):
        follower = Follower(folder, Patience(while_training=1.0, altogether=2.0)).ended()
    assert follower.said[-1] == "training broke off; waiting for the next try"
    assert "start the same command there" in str(follower.error)


def test_which_machine_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in meeting.NODE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert node_rank() == 0
    monkeypatch.setenv("SLURM_NODEID", "3")
    assert node_rank() == 3
    monkeypatch.setenv("SPAR_NODE_RANK", "1")
    assert node_rank() == 1
    monkeypatch.setenv("SPAR_NODE_RANK", "one")
    with pytest.raises(TrainingError, match="SPAR_NODE_RANK is 'one'"):
        node_rank()
