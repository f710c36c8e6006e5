from pathlib import Path

from spar_core.ports import free_port
from tasks.cluster_node import NodeView, code_digest, look, problems

URL = "http://prefect:4200/api"


def test_a_machine_that_sees_and_has_all_has_no_problems(tmp_path):
    probe = tmp_path / "probe"
    probe.touch()
    seen = look(str(probe), None)
    assert seen == NodeView(sees_home=True, writes_home=True, code=code_digest(), prefect="")
    assert list(problems(seen, tmp_path, None)) == []


def test_a_machine_without_the_home_and_out_of_prefects_reach_is_told_both(tmp_path):
    url = f"http://127.0.0.1:{free_port()}/api"
    seen = look(str(tmp_path / "elsewhere"), url)
    assert (seen.sees_home, seen.writes_home) == (False, False)
    home, prefect = problems(seen, tmp_path, url)
    assert home.startswith(
        f"it does not see the home {tmp_path}: put the home on a file system that all machines mount"
    )
    assert prefect.startswith(f"it does not reach Prefect at {url} (ConnectError")
    assert "export PREFECT_API_URL" in prefect


def test_other_code_and_a_home_that_cannot_be_written_are_told():
    seen = NodeView(sees_home=True, writes_home=False, code="other", prefect="")
    writing, code = problems(seen, Path("/home"), URL)
    assert writing == "it cannot write to the home /home: let the user that runs Ray there do so"
    assert code == "it has another version of spar or of Python: install the same on all machines"
