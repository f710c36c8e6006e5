from pathlib import Path

import pytest

from spar_core.training.failures import explain_failure, meaningful_lines

TRACEBACK = """Loading weights: 100%
Traceback (most recent call last):
  File "worker.py", line 3, in main
    run()
ValueError: head size 7 is odd
use an even one
"""


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", 1, "lower micro_batch_size"),
        (
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
            1,
            "gradient_checkpointing: true",
        ),
        ("OSError: [Errno 28] No space left on device", 1, "the disk is full"),
        ("", -9, "killed (SIGKILL), most often by the system because memory ran out; lower micro_batch_size"),
        ("", -15, "ended by signal 15; run again"),
        (TRACEBACK, 1, "failed (exit code 1): ValueError: head size 7 is odd | use an even one"),
    ],
)
def test_cause_and_remedy(tmp_path: Path, text: str, code: int, expected: str) -> None:
    log = tmp_path / "log"
    earlier = "torch.OutOfMemoryError: of an earlier run\n"
    log.write_text(earlier + text)
    assert expected in explain_failure(log, len(earlier), code)


def test_a_secret_that_a_training_prints_does_not_become_its_reason(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRACKER_TOKEN", "canary-of-a-tracker")
    log = tmp_path / "log"
    log.write_text("ValueError: no login with canary-of-a-tracker\n")
    assert explain_failure(log, 0, 1) == "the training failed (exit code 1): ValueError: no login with ***"


def test_first_error_is_shown_not_the_launcher_s() -> None:
    ranked = "".join(f"[rank1]: {line}\n" for line in TRACEBACK.splitlines())
    text = ranked + "Traceback\n  File x\ntorch.distributed.elastic.ChildFailedError: worker failed\n"
    assert meaningful_lines(text) == ["ValueError: head size 7 is odd", "use an even one"]
    assert meaningful_lines("a\nb\n") == ["a", "b"]


def test_a_worker_that_says_nothing_in_form_is_told_by_its_last_words_and_exit_code() -> None:
    text = """python: Error while finding module specification for 'spar_core.training.worker'
Traceback (most recent call last):
  File "run.py", line 3, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
spar_core.training.worker FAILED
Failures:
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 7)
"""
    said = meaningful_lines(text)
    assert said[0].startswith("python: Error while finding module specification")
    assert said[-1] == "exitcode  : 1 (pid: 7)"
    assert meaningful_lines("torch.distributed.elastic.ChildFailedError: x") == [
        "torch.distributed.elastic.ChildFailedError: x"
    ]
