"""The pool of engines, with a stand-in for vLLM: deaths and restarts, interruptions, several models at once."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spar_core.engines import server_guard, transformers_engine, vllm_engine
from spar_core.engines.base import Engine, Generation, GenerationRequest, Sampling
from spar_core.engines.configuration import ScriptedEngineConfig, VllmEngineConfig
from spar_core.engines.vllm_engine import VllmEngine
from spar_core.errors import EngineError, EngineUnavailableError
from spar_core.processes import process_mark
from spar_core.records import Message
from storage.home import Home
from tasks import engines
from tasks.engines import EnginePool, ModelRef
from tasks.runtime import Runtime
from tests.spar_core.engines.stand_in_server import model_folder, stand_in, starts

Engines = Callable[..., VllmEngineConfig]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[EnginePool]:
    made = EnginePool(logs=tmp_path / "home" / "logs", records=tmp_path / "home" / "servers")
    yield made
    made.end()


@pytest.fixture
def config(tmp_path: Path) -> Engines:
    def make(mode: str = "", **settings: object) -> VllmEngineConfig:
        common = {"python": stand_in(tmp_path), "env": {"STAND_IN_MODE": mode}, "start_timeout_s": 30}
        return VllmEngineConfig.model_validate({**common, "max_retries": 1, **settings})

    return make


@pytest.fixture
def models(tmp_path: Path) -> list[ModelRef]:
    return [ModelRef(name, str(model_folder(tmp_path / name))) for name in ("first", "second")]


def ask(engine: Engine, *texts: str) -> list[str]:
    async def run() -> list[Generation]:
        requests = [GenerationRequest((Message("user", text),), Sampling(max_tokens=4), 0) for text in texts]
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return [answer.completions[0].text for answer in asyncio.run(run())]


def test_a_server_that_dies_is_started_again_once_for_all_shards(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    dying = config("dies:12")
    answers: dict[int, list[str]] = {}

    def shard(number: int) -> None:
        answers[number] = ask(pool.engine(dying, models[0], "stage"), *(f"{number} {text}" for text in "abcd"))

    # Twelve answers and it is gone; four shards of four want sixteen, and those under way are asked again.
    shards = [threading.Thread(target=shard, args=(number,)) for number in range(4)]
    for one in shards:
        one.start()
    for one in shards:
        one.join(60)
    assert answers == {number: [f"{number} {text}" for text in "ABCD"] for number in range(4)}
    assert len(starts(tmp_path)) == 2


def test_a_server_without_its_engine_is_started_again_and_no_request_takes_the_blame(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    # It answers six, then 500 to everything while the process lives on; that is no fault of the requests.
    engine = pool.engine(config("loses:6"), models[0], "stage")
    assert ask(engine, *"abcdefghij") == list("ABCDEFGHIJ")
    assert len(starts(tmp_path)) == 2


def test_one_that_dies_over_and_over_ends_the_stage_with_the_end_of_its_log(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "MAX_RESTARTS", 2)
    hopeless = config("dies:0")
    with pytest.raises(EngineUnavailableError, match=r"(?s)has died.*CUDA error.*restarted 2 times in this stage"):
        ask(pool.engine(hopeless, models[0], "stage"), "a", "b")
    assert len(starts(tmp_path)) == 3
    # Its shards' further tries start it once more each, not three times; another stage counts anew.
    with pytest.raises(EngineUnavailableError):
        ask(pool.engine(hopeless, models[0], "stage"), "a")
    assert len(starts(tmp_path)) <= 4
    pool.stage_ended("stage")
    assert not pool._restarts


def test_a_failure_of_a_living_server_is_no_reason_to_restart_it(pool: EnginePool, models: list[ModelRef]) -> None:
    script = ScriptedEngineConfig(script="tests.tasks.test_engines:unavailable")
    with pytest.raises(EngineUnavailableError, match="busy"):
        ask(pool.engine(script, models[0], "stage"), "a")


def unavailable(_request: GenerationRequest, _index: int) -> Exception:
    return EngineUnavailableError("busy")


def test_an_interruption_does_not_wait_for_a_start_and_opens_nothing_more(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    failures: list[BaseException] = []

    def shard(model: ModelRef) -> None:
        try:
            ask(pool.engine(config("slow", start_timeout_s=300), model, "stage"), "a")
        except EngineError as error:
            failures.append(error)

    # Two wait for the same start, one for its turn to start another model.
    shards = [threading.Thread(target=shard, args=(model,)) for model in (models[0], models[0], models[1])]
    for one in shards:
        one.start()
    wait_until(lambda: len(starts(tmp_path)) == 1)
    interrupted = time.monotonic()
    pool.interrupt()
    assert time.monotonic() - interrupted < 1.0  # a signal handler must not wait
    for one in shards:
        one.join(15)
    assert ["interrupted" in str(failure) for failure in failures] == [True] * 3
    with pytest.raises(EngineError, match="interrupted"):
        ask(pool.engine(config(), models[0], "stage"), "a")
    assert len(starts(tmp_path)) == 1
    assert list((tmp_path / "home" / "servers").iterdir()) == []


def test_a_new_holder_opens_again_and_those_of_before_stay_refused(
    config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    runtime = Runtime(Home(tmp_path / "home"))
    with runtime.held():
        stale = runtime.engines.engine(config(), models[0], "stage")
        Runtime._by_home["test"] = runtime
        try:
            Runtime.interrupt_all()
        finally:
            del Runtime._by_home["test"]
    with runtime.held():
        assert ask(runtime.engines.engine(config(), models[0], "stage"), "a") == ["A"]
        with pytest.raises(EngineError, match="interrupted"):
            ask(stale, "a")  # a shard of the interrupted run that tries again
    with pytest.raises(EngineError, match="interrupted"):
        ask(runtime.engines.engine(config(), models[0], "stage"), "a")  # nobody holds the home: nobody would close it
    assert len(starts(tmp_path)) == 1
    assert list(runtime.home.servers.iterdir()) == []


def test_the_next_holder_ends_what_an_earlier_run_left_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime = Runtime(Home(tmp_path / "home"))
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        runtime.home.servers.mkdir(parents=True)
        record = {"owner": "4194305:1", "guard": "4194305:2", "server": orphan.pid, "boot": server_guard._boot()}
        file = runtime.home.servers / "vllm-8000.json"
        file.write_text(json.dumps({**record, "processes": [process_mark(orphan.pid)]}))
        with runtime.held():
            assert orphan.wait(10) == -signal.SIGTERM
        assert not file.exists()
        assert "ended the server vllm-8000, which an earlier run had left behind" in caplog.text
    finally:
        orphan.kill()


def test_overlapping_holders_keep_the_home_until_the_last_leaves(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    runtime = Runtime(home)
    first, second = runtime.held(), runtime.held()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert home.lock_holder() is not None
    second.__exit__(None, None, None)
    assert home.lock_holder() is None
    with runtime.held():
        assert home.lock_holder() is not None
    assert home.lock_holder() is None


def test_models_kept_side_by_side_share_the_gpu_until_their_stage_ends(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    served = config()
    alone = pool.engine(served, models[0], "before")
    assert ask(alone, "a") == ["A"]
    pool.keep([(served, models[0]), (served, models[1])], "voting")
    pair = [pool.engine(served, model, "voting") for model in models]
    for _ in range(2):  # by turns, without one closing the other
        assert [ask(engine, "b") for engine in pair] == [["B"], ["B"]]
    pool.stage_ended("voting")
    assert ask(pool.engine(served, models[0], "after"), "c") == ["C"]
    shares = [
        (Path(words[words.index("--model") + 1]).name, words[words.index("--gpu-memory-utilization") + 1])
        for words in (start.split() for start in starts(tmp_path))
    ]
    assert shares == [("first", "0.9"), ("first", "0.45"), ("second", "0.45"), ("first", "0.9")]
    assert len(list((tmp_path / "home" / "servers").iterdir())) == 1


def test_models_that_stand_side_by_side_are_not_started_anew_between_stages(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    served = config()
    for stage in ("responses", "judgements", "trees"):
        pool.keep_seats(2, stage)
        model = models[stage != "responses"]
        assert ask(pool.engine(served, model, stage), "a") == ["A"]
        pool.stage_ended(stage)
    pool.keep_seats(2, "next")
    assert ask(pool.engine(served, models[0], "next"), "b") == ["B"]
    assert len(starts(tmp_path)) == 2


def test_roles_with_gpus_of_their_own_displace_only_models_that_are_on_them(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path
) -> None:
    served = config(roles={"actor": {"gpus": 1}, "refiner": {"gpus": 1}})
    actor, refiner = served.for_role("actor"), served.for_role("refiner")
    third = ModelRef("third", str(model_folder(tmp_path / "third")))
    pool.keep_seats(2, "stage")
    for _ in range(2):
        assert ask(pool.engine(actor, models[0], "stage"), "a") == ["A"]
        assert ask(pool.engine(refiner, models[1], "stage"), "b") == ["B"]
    assert len(starts(tmp_path)) == 2
    assert ask(pool.engine(refiner, third, "stage"), "c") == ["C"]  # in place of the second, not of the first
    assert [loaded.model for loaded in pool._open] == [models[0], third]
    assert ask(pool.engine(config(), models[1], "stage"), "d") == ["D"]  # one that may be anywhere
    assert [loaded.model for loaded in pool._open] == [models[1]]


def test_a_model_that_is_loaded_answers_while_another_is_started_beside_it(
    pool: EnginePool, config: Engines, models: list[ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, starting, may_start = config(), threading.Event(), threading.Event()
    pool.keep_seats(2, "stage")
    assert ask(pool.engine(served, models[0], "stage"), "a") == ["A"]
    start = pool._start

    def slowly(*arguments: object) -> Engine:
        starting.set()
        assert may_start.wait(60)
        return start(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "_start", slowly)
    with ThreadPoolExecutor(2) as shards:
        second = shards.submit(ask, pool.engine(served, models[1], "stage"), "b")
        assert starting.wait(60)
        first = shards.submit(ask, pool.engine(served, models[0], "stage"), "c")  # of another shard
        try:
            assert first.result(30) == ["C"]
        finally:
            may_start.set()
        assert second.result() == ["B"]


def test_one_model_in_two_roles_and_servers_elsewhere_need_no_room(pool: EnginePool, models: list[ModelRef]) -> None:
    served, script = VllmEngineConfig(), ScriptedEngineConfig(script="tests.tasks.moody_model:answer")
    pool.keep([(served, models[0]), (served, models[0]), (script, models[1])], "stage")
    assert pool._together == {"stage": 1}


def test_known_digests_are_not_made_again_and_logs_lie_in_the_home(
    pool: EnginePool, config: Engines, models: list[ModelRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hashed(_folder: Path) -> str:
        raise AssertionError("the weights were read to hash them")

    monkeypatch.setattr(vllm_engine, "model_digest", hashed)
    monkeypatch.setattr(transformers_engine, "model_digest", hashed)
    engine = pool.opened(config(), models[0], pool._ended)
    assert isinstance(engine, VllmEngine)
    assert engine.model_digest == "first"
    assert engine.fleet.servers[0].log.parent == tmp_path / "home" / "logs"


class Mortal:
    """An engine that says when it is opened and closed; it may take its time over closing, or fail."""

    model_digest = "first"

    def __init__(self, said: list[str], closes: threading.Event | None = None, *, fails: bool = False) -> None:
        self._said = said
        self._closes = closes
        self._fails = fails
        said.append("opened")

    async def generate(self, _request: GenerationRequest) -> Generation:
        raise EngineUnavailableError("the server has died")

    async def is_healthy(self) -> bool:
        return False

    async def close(self) -> None:
        self._said.append("closing")
        if self._closes is not None:
            assert self._closes.wait(20)
        self._said.append("closed")
        if self._fails:
            raise RuntimeError("cannot be closed")


def test_a_server_starts_again_only_when_the_dead_one_is_gone(
    pool: EnginePool, models: list[ModelRef], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said, closes = list[str](), threading.Event()
    monkeypatch.setattr(pool, "_start", lambda *_: Mortal(said, closes))
    first = pool.opened(VllmEngineConfig(), models[0], pool._ended)
    with ThreadPoolExecutor(2) as shards:
        noticing = shards.submit(pool.replaced, first, "stage", EngineUnavailableError("its log ends so"))
        wait_until(lambda: "closing" in said)
        other = shards.submit(pool.opened, VllmEngineConfig(), models[0], pool._ended)
        time.sleep(0.3)
        assert said == ["opened", "closing"]  # its port and its memory are still taken
        closes.set()
        noticing.result(20)
        assert other.result(20) is not first
    assert said == ["opened", "closing", "closed", "opened"]
    assert "its log ends so\nIt is started again (1 of at most 3 times in this stage)" in caplog.text


def test_the_end_waits_for_what_an_interruption_is_closing(
    pool: EnginePool, models: list[ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    said, closes = list[str](), threading.Event()
    monkeypatch.setattr(pool, "_start", lambda *_: Mortal(said, closes))
    pool.opened(VllmEngineConfig(), models[0], pool._ended)
    pool.interrupt()
    wait_until(lambda: "closing" in said)
    threading.Timer(0.3, closes.set).start()
    pool.end()
    assert said[-1] == "closed"


def test_an_engine_that_cannot_be_closed_keeps_no_other_open(
    pool: EnginePool, models: list[ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = list[str]()
    monkeypatch.setattr(pool, "_start", lambda *_: Mortal(said, fails=True))
    pool.keep([(VllmEngineConfig(), model) for model in models], "stage")
    for model in models:
        pool.opened(VllmEngineConfig(), model, pool._ended)
    with pytest.raises(RuntimeError, match="cannot be closed"):
        pool.end()
    assert said.count("closed") == 2


def test_a_home_whose_orphans_cannot_be_ended_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_folder: Path) -> list[str]:
        raise KeyboardInterrupt

    home = Home(tmp_path / "home")
    runtime = Runtime(home)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.runtime.end_orphans", interrupted)
        with pytest.raises(KeyboardInterrupt), runtime.held():
            pass
    assert home.lock_holder() is None
    with runtime.held():
        assert home.lock_holder() is not None


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
