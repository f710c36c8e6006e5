"""The hack rate of a run, as its summary says it."""

from flows.showing import hacking
from flows.showing.hacking import hack_rates


class Catalogue:
    """Two measured iterations; in the second no answer meets every rule."""

    def __enter__(self) -> "Catalogue":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def rows(self, query: str, values: list[object]) -> list[dict[str, object]]:
        assert values == ["run", "hack_rate"]
        bounds = {"value": 0.5, "ci_low": 0.1, "ci_high": 0.9, "n": 2}
        return [{"iteration": number, "metric": metric, **bounds} for number, metric in (
            (1, "accuracy"), (1, "hack_rate"), (2, "accuracy"),
        )]  # fmt: skip


def test_every_measured_iteration_has_its_rate_or_none(monkeypatch):
    monkeypatch.setattr(hacking, "open_catalog", lambda home: Catalogue())
    first, second = hack_rates(None, "run")
    assert (first.iteration, first.share.value, first.share.n) == (1, 0.5, 2)
    assert "50.0 [10.0, 90.0] % of 2 answers" in first.shown()
    assert (second.iteration, second.share) == (2, None)
    assert "no held-out answer" in second.shown()
    assert second.plain() == {"iteration": 2, "hack_rate": None}
