"""The pages of `spar view`, by what they show: one path per thing, the same in every home that holds it."""

from urllib.parse import quote, urlencode

from spar_core.records import ModelRole


def run(run_id: str) -> str:
    """A run: its iterations beside one another, its stages, its loop."""
    return _path("runs", run_id)


def report(run_id: str) -> str:
    """A run as one self-contained page."""
    return _path("runs", run_id, "report")


def iteration(run_id: str, number: int) -> str:
    """One iteration of a run: its stages, what was made, what was learnt from it."""
    return _path("runs", run_id, str(number))


def trees(**filters: str) -> str:
    """The list of search trees, filtered by its fields (`run`, `iteration`, `stop`, ...)."""
    return _path("trees", **filters)


def tree(tree_id: str, node_id: str | None = None) -> str:
    """A search tree; with a node, that node opened."""
    return _path("trees", tree_id) if node_id is None else _path("trees", tree_id, node=node_id)


def prompts(**filters: str) -> str:
    """The list of prompts."""
    return _path("prompts", **filters)


def prompt(prompt_id: str) -> str:
    """A prompt with all its answers, their votes, and what was made of them."""
    return _path("prompts", prompt_id)


def response(prompt_id: str, response_id: str) -> str:
    """An answer, on its prompt's page."""
    return f"{prompt(prompt_id)}#response-{quote(response_id, safe='')}"


def pairs(**filters: str) -> str:
    """The list of preference pairs."""
    return _path("pairs", **filters)


def pair(pair_id: str) -> str:
    """A preference pair: chosen and rejected as a diff, and where both come from."""
    return _path("pairs", pair_id)


def examples(**filters: str) -> str:
    """The list of what refiners learn from."""
    return _path("examples", **filters)


def example(example_id: str) -> str:
    """One example that refiners learn from: its chat, and where it comes from."""
    return _path("examples", example_id)


def drops(**filters: str) -> str:
    """What entered a stage and did not leave it, with reasons."""
    return _path("drops", **filters)


def evaluation(**filters: str) -> str:
    """Scores of all benchmarks."""
    return _path("evaluation", **filters)


def benchmark(name: str, **filters: str) -> str:
    """A benchmark: its items under each model that was measured on it."""
    return _path("evaluation", name, **filters)


def item(benchmark_name: str, item_id: str, **filters: str) -> str:
    """One item of a benchmark: what every model answered, and how it was judged."""
    return _path("evaluation", benchmark_name, item_id, **filters)


def models() -> str:
    """All registered models."""
    return "/models"


def model(role: ModelRole, version: int) -> str:
    """A model version: its scores, its parent, what it learned from."""
    return _path("models", role, str(version))


def _path(*parts: str, **query: str) -> str:
    path = "".join(f"/{quote(part, safe='')}" for part in parts)
    return f"{path}?{urlencode(query)}" if query else path
