"""A training over two nodes of a Ray cluster, and over two processes of one machine: the same weights."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spar_core.config.launch import LaunchConfig
from spar_core.errors import TrainingError
from spar_core.hashing import model_digest
from spar_core.starter import base_model_dir
from spar_core.training import TrainingSpec, train
from spar_core.training.ray_nodes import joined
from tests.ray_cluster import NODE, nodes

ray: Any = pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
MakeSpec = Callable[..., TrainingSpec]
ROWS = 160
MACHINES = LaunchConfig(nodes=2, threads=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with nodes(2) as started:
        ray.init(address=started.address, log_to_driver=False)
        yield started


@pytest.fixture
def apart(make_spec: MakeSpec, tmp_path: Path) -> TrainingSpec:
    spec = make_spec("dpo", base_model_dir(), "apart", rows=ROWS, launch=MACHINES, checkpoint_steps=5)
    return spec.model_copy(update={"meeting_folder": tmp_path / "meeting"})


def test_two_nodes_and_two_processes_of_one_machine_make_equal_weights(cluster, apart, make_spec):
    with joined(apart, patience_s=300) as training:
        made = train(training.spec)
    assert list((apart.output_folder.parent / "meeting").iterdir()) == []
    here = train(make_spec("dpo", base_model_dir(), "here", rows=ROWS, launch=LaunchConfig(processes=2, threads=1)))
    assert model_digest(made.model_folder) == model_digest(here.model_folder)
    assert made.steps == ROWS // 4


def test_a_lost_node_ends_the_try_and_the_next_goes_on_from_its_checkpoint(cluster, apart, make_spec):
    begun = threading.Event()

    def lose_the_other() -> None:
        begun.wait()
        cluster.remove_node(*cluster.worker_nodes, allow_graceful=False)

    losing = threading.Thread(target=lose_the_other)
    losing.start()
    lost = pytest.raises(TrainingError, match=r"a machine of the Ray cluster was lost")
    with lost, joined(apart, patience_s=300) as training:
        train(
            training.spec, lambda step, _metrics: begun.set() if step > 5 else None, lambda: training.lost() is not None
        )
    losing.join()
    cluster.add_node(**NODE)
    with joined(apart, patience_s=300) as training:
        made = train(training.spec)
    whole = train(make_spec("dpo", base_model_dir(), "whole", rows=ROWS, launch=LaunchConfig(processes=2, threads=1)))
    assert made.resumed_from_step >= 5
    assert model_digest(made.model_folder) == model_digest(whole.model_folder)


def test_too_few_machines_are_told(cluster, apart):
    many = apart.model_copy(update={"launch": LaunchConfig(nodes=9)})
    told = pytest.raises(TrainingError, match=r"had no 9 machines with 1 CPU free.*lower training\.launch\.nodes")
    with told, joined(many, patience_s=0.1):
        pass
