"""What became of everything an iteration's models wrote, and whether it is worth training on."""

from typing import Any, NamedTuple

from spar_core.config.run import HealthConfig
from spar_core.errors import FruitlessError
from spar_core.roles.watch import REMEDIES
from storage.artifacts import ArtifactRef
from storage.catalog import Catalog, open_catalog
from storage.home import Home

_COUNTS = """
WITH
answers AS (SELECT finish_reason FROM responses WHERE {here}),
votes_asked AS (
    SELECT verdict, finish_reason FROM votes WHERE {here}
    UNION ALL SELECT verdict, finish_reason FROM tree_votes WHERE {here}),
rewrites AS (
    SELECT failure, finish_reason FROM tree_nodes WHERE {here} AND parent_id IS NOT NULL),
lost AS (SELECT stage, count(*) AS n FROM drops WHERE {here} GROUP BY stage)
SELECT
    (SELECT count(*) FROM prompts WHERE {here}) AS prompts,
    (SELECT coalesce(sum(n), 0) FROM lost WHERE stage = 'responses') AS refused_prompts,
    (SELECT count(*) FROM answers) AS answers,
    (SELECT count(*) FROM answers WHERE finish_reason = 'length') AS cut_answers,
    (SELECT coalesce(sum(n), 0) FROM lost WHERE stage = 'judgements') AS undecided_answers,
    (SELECT count(*) FROM votes_asked) AS votes,
    (SELECT count(*) FROM votes_asked WHERE verdict = 'UNPARSEABLE') AS unreadable_votes,
    (SELECT count(*) FROM votes_asked WHERE verdict = 'UNPARSEABLE' AND finish_reason = 'length') AS cut_votes,
    (SELECT count(*) FROM rewrites) AS rewrites,
    (SELECT count(*) FROM rewrites WHERE failure IS NOT NULL AND failure NOT LIKE 'judge:%') AS unusable_rewrites,
    (SELECT count(*) FROM rewrites WHERE failure = 'truncated') AS cut_rewrites,
    (SELECT coalesce(sum(n), 0) FROM lost) AS dropped,
    (SELECT count(*) FROM preference_pairs WHERE {here}) AS pairs
"""


class Share(NamedTuple):
    """`lost` of `total`; `why` names parts of what was lost."""

    lost: int
    total: int
    why: str = ""

    @property
    def value(self) -> float:
        """The fraction, 0 of nothing."""
        return self.lost / self.total if self.total else 0.0

    def shown(self) -> str:
        """Percent: `3.1`; a dash where there was nothing."""
        return f"{100 * self.value:.1f}" if self.total else "-"


class Health(NamedTuple):
    """Counts of one iteration. Votes and rewrites are those of self-play, not of measurements."""

    iteration: int
    refused_prompts: Share
    cut_answers: Share
    undecided_answers: Share
    unreadable_votes: Share
    unusable_rewrites: Share
    dropped: int
    pairs: int

    def plain(self) -> dict[str, Any]:
        """JSON-like values: shares as fractions."""
        shares = {name: entry for name, entry in self._asdict().items() if isinstance(entry, Share)}
        return {name: round(entry.value, 6) for name, entry in shares.items() if entry.total}

    def cells(self) -> list[str]:
        """Texts for a table, in the order of `HEALTH_COLUMNS`."""
        shares = (entry for entry in self if isinstance(entry, Share))
        return [str(self.iteration), *(entry.shown() for entry in shares), str(self.dropped), str(self.pairs)]


HEALTH_COLUMNS = [
    "iteration",
    "prompts refused %",
    "answers cut %",
    "answers undecided %",
    "votes unreadable %",
    "rewrites unusable %",
    "rows dropped",
    "pairs",
]
_EXCEEDED = {
    "refused_prompts": (
        "max_refused_prompts",
        "prompts were refused by the actor's engine",
        "their reasons: spar sql \"SELECT reason, detail, count(*) FROM drops WHERE stage = 'responses' GROUP BY ALL\"",
    ),
    "cut_answers": ("max_cut_answers", "answers end at the token limit", REMEDIES["answers"]),
    "unreadable_votes": ("max_unreadable_votes", "votes cannot be read", REMEDIES["votes"]),
    "undecided_answers": (
        "max_undecided_answers",
        "answers got no judgement",
        "ask for more votes (method.judging.votes) or a smaller quorum, or choose a stronger models.refiner; where "
        "rules alone judge (judging.anchor=rules_only), prompts must hold constraints that the registry knows",
    ),
    "unusable_rewrites": ("max_unusable_rewrites", "rewrites cannot be used", REMEDIES["rewrites"]),
}


def iteration_health(home: Home, run_id: str, iteration: int) -> Health:
    """The counts of one iteration of a run, as far as it has come."""
    with open_catalog(home) as catalog:
        return _counted(catalog, run_id, iteration)


def run_health(home: Home, run_id: str) -> list[Health]:
    """The counts of every iteration after the warm start."""
    with open_catalog(home) as catalog:
        rows = catalog.rows(
            "SELECT DISTINCT iteration FROM stages WHERE run_id = ? AND stage = 'responses' ORDER BY iteration",
            [run_id],
        )
        return [_counted(catalog, run_id, row["iteration"]) for row in rows]


def require_fruit(home: Home, run_id: str, iteration: int, pairs: ArtifactRef, limits: HealthConfig) -> None:
    """Stop before an iteration trains on next to nothing.

    Raises:
        FruitlessError: a share above its limit or too few pairs; the message counts every loss and says what to change.
    """
    health = iteration_health(home, run_id, iteration)
    problems = []
    for name, (key, what, remedy) in _EXCEEDED.items():
        share: Share = getattr(health, name)
        if share.value > (limit := getattr(limits, key)):
            why = f", {share.why}" if share.why else ""
            problems.append(f"{share.lost} of {share.total} {what}{why}: above health.{key}={limit:g}; {remedy}")
    made = pairs.rows.get("preference_pairs", 0)
    if made < limits.min_pairs:
        problems.append(f"{made} preference pairs came of it, below health.min_pairs={limits.min_pairs}")
    if problems:
        raise FruitlessError(
            f"iteration {iteration} has too little to learn from, so it does not train:\n  - "
            + "\n  - ".join([*problems, f"rows on the way: {_ways(home, run_id, iteration)}"])
            + "\nChange the configuration (the limits themselves are under health) and run again: finished work is kept"
        )


def _counted(catalog: Catalog, run_id: str, iteration: int) -> Health:
    here = f"run_id = '{run_id}' AND iteration = {int(iteration)}"  # run ids are safe names
    row = {name: int(value or 0) for name, value in catalog.rows(_COUNTS.format(here=here))[0].items()}
    return Health(
        iteration,
        Share(row["refused_prompts"], row["prompts"]),
        Share(row["cut_answers"], row["answers"]),
        Share(row["undecided_answers"], row["answers"]),
        Share(row["unreadable_votes"], row["votes"], _cut(row["cut_votes"])),
        Share(row["unusable_rewrites"], row["rewrites"], _cut(row["cut_rewrites"])),
        row["dropped"],
        row["pairs"],
    )


def _cut(count: int) -> str:
    return f"{count} of them cut by the token limit" if count else ""


def _ways(home: Home, run_id: str, iteration: int) -> str:
    """Rows in, out and dropped with reasons, stage by stage."""
    with open_catalog(home) as catalog:
        stages = catalog.rows(
            "SELECT stage, rows_in, rows_out FROM stages WHERE run_id = ? AND iteration = ? AND state = 'completed' "
            "ORDER BY started",
            [run_id, iteration],
        )
        drops = catalog.rows(
            "SELECT stage, reason, count(*) AS n FROM drops WHERE run_id = ? AND iteration = ? "
            "GROUP BY ALL ORDER BY n DESC, reason",
            [run_id, iteration],
        )
    reasons: dict[str, list[str]] = {}
    for drop in drops:
        reasons.setdefault(drop["stage"], []).append(f"{drop['n']} {drop['reason']}")
    described = []
    for stage in stages:
        lost = reasons.get(stage["stage"])
        dropped = f" ({', '.join(lost)})" if lost else ""
        described.append(f"{stage['stage']} {stage['rows_out']} of {stage['rows_in']}{dropped}")
    return "; ".join(described)
