"""SQL over a home: right columns when empty, shared artifacts under every run, nothing but reading."""

import json
import logging
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spar_core.errors import StorageError
from spar_core.records import Constraint, Drop, Prompt, Verdict, Vote
from storage import catalog, schemas
from storage.artifacts import ArtifactStore, Provenance
from storage.entries import ModelEntry, StageRun
from storage.home import Home
from storage.ledger import Ledger

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)

# The published tables and their columns; `run_id, iteration, stage_key` belong to every one.
PUBLISHED = {
    "prompts": "prompt_id text constraints split source",
    "responses": "response_id prompt_id sample_index text finish_reason prompt_tokens completion_tokens "
    "model_digest seed",
    "votes": "response_id vote_index verdict critique finish_reason seed",
    "judgements": "response_id verdict yes_votes no_votes unparseable_votes value critique",
    "trees": "tree_id prompt_id root_response_id strategy stop_reason nodes_expanded accepted_node_id engine_seconds",
    "tree_nodes": "tree_id node_id parent_id depth visit_order response reflection critique value yes_votes no_votes "
    "unparseable_votes duplicate_of accepted finish_reason",
    "preference_pairs": "pair_id prompt_id tree_id chosen rejected value",
    "refiner_examples": "example_id kind source messages",
    "drops": "stage record_id reason detail",
    "models": "role iteration name version uri digest parent_digest train_stage_key",
    "promotions": "role version champion_version lineage metric value champion_value difference ci_low ci_high n "
    "decision reason time",
    "eval_items": "benchmark role iteration model_digest item_id metric value",
    "eval_scores": "benchmark role iteration model_digest metric value ci_low ci_high n",
    "stages": "stage state cached rows_in rows_out rows_dropped seconds artifact_uri",
    "lineage": "child_kind child_id parent_kind parent_id",
}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def _commit(home, stage, key, tables, **counts):
    store = ArtifactStore(home)
    for table, rows in tables.items():
        with store.part(stage, key, 0) as part:
            part.write(table, rows)
    counts = {"rows_in": 0, "rows_out": 0} | counts
    return store.commit(stage, key, **counts)


def _use(home, run_id, iteration, ref):
    fields = {"state": "completed", "started": NOW, "stage": ref.stage, "stage_key": ref.stage_key}
    Ledger(home).record_stage(StageRun(run_id=run_id, iteration=iteration, artifact_uri=ref.uri, **fields))


def _rows(home, sql):
    with catalog.open_catalog(home) as opened:
        return opened.query(sql).to_pylist()


@pytest.mark.parametrize("table", PUBLISHED)
def test_an_empty_home_has_every_published_column(home, table):
    with catalog.open_catalog(home.root) as opened:
        answer = opened.query(f"FROM {table}")
    wanted = {"run_id", "iteration", "stage_key", *PUBLISHED[table].split()}
    assert wanted <= set(answer.column_names)
    assert answer.num_rows == 0
    assert not home.root.exists(), "reading makes nothing"


def test_the_same_columns_and_types_with_rows_as_without(home):
    def described(sql="DESCRIBE votes"):
        return [(row["column_name"], row["column_type"]) for row in _rows(home, sql)]

    empty = described()
    _commit(home, "votes", "k", {"votes": [Vote("r", 0, Verdict.NO, "c", "stop", 1)]})
    assert described() == empty
    assert dict(empty)["vote_index"] == "BIGINT"


def test_an_artifact_shared_by_two_runs_appears_under_both(home):
    first = _commit(home, "prompts", "00123", {"prompts": [Prompt("a", "A"), Prompt("b", "B")]})
    second = _commit(home, "prompts", "00124", {"prompts": [Prompt("c", "C")]})
    _commit(home, "prompts", "00125", {"prompts": [Prompt("d", "nobody uses it")]})
    _use(home, "r1", 1, first)
    _use(home, "r2", 1, first)
    _use(home, "r2", 2, second)
    rows = _rows(home, "SELECT run_id, iteration, stage_key, stage, prompt_id FROM prompts ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [
        ("r1", 1, "00123", "prompts", "a"),
        ("r1", 1, "00123", "prompts", "b"),
        ("r2", 1, "00123", "prompts", "a"),
        ("r2", 1, "00123", "prompts", "b"),
        ("r2", 2, "00124", "prompts", "c"),
    ]
    assert _rows(home, "SELECT count(*) AS n FROM artifacts WHERE state = 'whole'") == [{"n": 3}]


def test_constraints_carry_their_published_names(home):
    ref = _commit(home, "prompts", "k", {"prompts": [Prompt("a", "A", (Constraint.create("words:max", n=5),))]})
    _use(home, "r", 0, ref)
    (row,) = _rows(home, "SELECT constraints[1].id AS id, constraints[1].kwargs AS kwargs FROM prompts")
    assert (row["id"], json.loads(row["kwargs"])) == ("words:max", {"n": 5})


def test_drops_keep_their_own_stage(home):
    ref = _commit(home, "search", "0042", {"drops": [Drop("judge", "x", "no_quorum")]}, rows_in=1)
    _use(home, "r", 1, ref)
    (row,) = _rows(home, "SELECT stage_key, stage, record_id FROM drops")
    assert tuple(row.values()) == ("0042", "judge", "x")


def test_models_runs_stages_and_lineage(home):
    ledger = Ledger(home)
    ledger.open_run("r", {"lr": 0.1})
    prompts = _commit(home, "prompts", "p", {"prompts": [Prompt("a", "A")]})
    store = ArtifactStore(home)
    provenance = Provenance(inputs=(prompts,), model_digests={"actor": "base"})
    answers = store.commit("answers", "s", rows_in=1, rows_out=1, provenance=provenance)
    _use(home, "r", 1, answers)
    ledger.record_model(
        ModelEntry(
            run_id="r", role="actor", iteration=1, name="actor", version=3, uri="/m", digest="d", train_stage_key="t"
        )
    )
    assert _rows(home, "SELECT name, version, digest, stage_key FROM models") == [
        {"name": "actor", "version": 3, "digest": "d", "stage_key": "t"}
    ]
    assert _rows(home, "SELECT run_id, state, config FROM runs") == [
        {"run_id": "r", "state": "running", "config": '{"lr":0.1}'}
    ]
    assert _rows(home, "SELECT child_id, parent_kind, parent_id, run_id FROM lineage ORDER BY ALL") == [
        {"child_id": "d", "parent_kind": "artifact", "parent_id": "t", "run_id": None},
        {"child_id": "s", "parent_kind": "artifact", "parent_id": "p", "run_id": "r"},
        {"child_id": "s", "parent_kind": "model", "parent_id": "base", "run_id": "r"},
    ]
    assert _rows(home, "SELECT started FROM stages") == [{"started": datetime(2026, 3, 1, 12, 30)}], "UTC"


def test_only_parts_in_the_manifest_count(home):
    ref = _commit(home, "prompts", "k", {"prompts": [Prompt("a", "A")]})
    _use(home, "r", 1, ref)
    stray = ref.folder / "part-00001" / "prompts.parquet"
    stray.parent.mkdir()
    stray.write_bytes((ref.folder / "part-00000" / "prompts.parquet").read_bytes())
    with ArtifactStore(home).part("prompts", "unfinished", 0) as part:
        part.write("prompts", [Prompt("b", "B")])
    assert _rows(home, "SELECT count(*) AS n FROM prompts") == [{"n": 1}]


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_artifact_is_left_out_and_listed(home, caplog, cut):
    good = _commit(home, "prompts", "good", {"prompts": [Prompt("a", "A")]})
    bad = _commit(home, "prompts", "bad", {"prompts": [Prompt("b", "B")]})
    _use(home, "r", 1, good)
    _use(home, "r", 2, bad)
    victim = bad.folder / "part-00000" / "prompts.parquet"
    content = victim.read_bytes()
    victim.write_bytes(content[:-5] if cut else b"?" * len(content))
    with caplog.at_level(logging.WARNING), catalog.open_catalog(home) as opened:
        assert opened.query("SELECT prompt_id FROM prompts").to_pylist() == [{"prompt_id": "a"}]
        assert [entry.folder for entry in opened.damaged] == [bad.folder]
        (listed,) = opened.query("SELECT stage_key, problem FROM artifacts WHERE state = 'damaged'").to_pylist()
    assert listed["stage_key"] == "bad"
    assert "part-00000/prompts.parquet" in listed["problem"]
    assert "left out of the catalogue" in caplog.text


def test_damage_that_appears_after_opening_is_left_out_too(home):
    good = _commit(home, "prompts", "good", {"prompts": [Prompt("a", "A")]})
    bad = _commit(home, "prompts", "bad", {"prompts": [Prompt("b", "B")]})
    for iteration, ref in enumerate((good, bad)):
        _use(home, "r", iteration, ref)
    with catalog.open_catalog(home) as opened:
        (bad.folder / "part-00000" / "prompts.parquet").unlink()
        assert opened.query("SELECT prompt_id FROM prompts").to_pylist() == [{"prompt_id": "a"}]


def test_files_of_an_older_version_lack_columns_not_rows(home):
    ref = _commit(home, "prompts", "old", {"prompts": [Prompt("a", "A")]})
    _use(home, "r", 1, ref)
    file = ref.folder / "part-00000" / "prompts.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["source"]), file)
    manifest = ref.folder / "manifest.json"
    fields = json.loads(manifest.read_text())
    fields["parts"][0]["tables"][0]["bytes"] = file.stat().st_size
    manifest.write_text(json.dumps(fields))
    assert _rows(home, "SELECT prompt_id, source FROM prompts") == [{"prompt_id": "a", "source": None}]


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW TABLES",
        "FROM stages",
        "WITH s AS (FROM stages) SELECT count(*) FROM s",
        "PIVOT stages ON stage USING sum(rows_in) GROUP BY iteration",
        "EXPLAIN ANALYZE SELECT count(*) FROM votes",
        "SUMMARIZE votes",
    ],
)
def test_reading_statements_are_answered(home, sql):
    with catalog.open_catalog(home) as opened:
        assert isinstance(opened.query(sql), pa.Table)


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/x.csv'",
        "COPY (SELECT 1) TO '{file}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}'",
        "COPY (PIVOT (SELECT 1 AS a, 2 AS b) ON a USING sum(b)) TO '{file}' (FORMAT csv)",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW votes",
        "DELETE FROM internal.stages",
        "ATTACH '{folder}/x.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "",
        "SELECT * FROM read_text('/etc/hostname')",
        "FROM read_csv('{folder}/manifest.json')",
        "SELECT nothing FROM votes",
        "SELEC 1",
    ],
)
def test_everything_else_is_refused_and_changes_nothing(home, sql):
    ref = _commit(home, "prompts", "k", {"prompts": [Prompt("a", "A")]})
    _use(home, "r", 1, ref)
    file = ref.folder / "part-00000" / "prompts.parquet"
    before = file.read_bytes()
    with catalog.open_catalog(home) as opened:
        with pytest.raises(StorageError):
            opened.query(sql.format(folder=ref.folder, file=file))
        assert opened.query("SELECT count(*) AS n FROM prompts").to_pylist() == [{"n": 1}]
    assert file.read_bytes() == before
    assert sorted(path.name for path in ref.folder.iterdir()) == ["manifest.json", "part-00000"]


def test_parameters_fill_question_marks(home):
    _use(home, "r1", 1, _commit(home, "prompts", "k", {"prompts": [Prompt("a", "A")]}))
    with catalog.open_catalog(home) as opened:
        assert opened.rows("SELECT stage FROM stages WHERE run_id = ?", ["r1"]) == [{"stage": "prompts"}]


def test_mistakes_carry_the_databases_explanation(home):
    with catalog.open_catalog(home) as opened, pytest.raises(StorageError, match="nothing"):
        opened.query("SELECT nothing FROM votes")
    with catalog.open_catalog(home) as opened, pytest.raises(StorageError, match="read-only: DROP"):
        opened.query("DROP VIEW votes")


def test_a_home_whose_name_needs_quoting(tmp_path):
    home = Home(tmp_path / "it's a home")
    _use(home, "r", 1, _commit(home, "prompts", "k", {"prompts": [Prompt("a", "A")]}))
    assert _rows(home, "SELECT prompt_id FROM prompts") == [{"prompt_id": "a"}]


def test_every_record_table_is_a_view(home):
    names = {row["name"] for row in _rows(home, "SHOW TABLES")}
    assert names == {*schemas.TABLES, "runs", "stages", "models", "promotions", "lineage", "artifacts"}


@pytest.mark.parametrize("above", ["seed=7", "model_digest=zzz", "stage_key=k9", "stage=other/stage_key=k9"])
def test_names_of_folders_above_the_home_are_no_columns(tmp_path, above):
    home = Home(tmp_path / above / "home")
    ref = _commit(home, "judgements", "k1", {"votes": [Vote("r", 0, Verdict.YES, "fine", "stop", seed=3)]})
    _use(home, "run", 1, ref)
    (row,) = _rows(home, "SELECT stage_key, stage, seed FROM votes")
    assert row == {"stage_key": "k1", "stage": "judgements", "seed": 3}
    assert "zzz" not in str(_rows(home, "SELECT * FROM votes"))


def test_a_text_of_the_ledger_that_has_no_utf8_form_does_not_close_the_catalogue(tmp_path):
    home = Home(tmp_path / "home")
    Ledger(home).open_run("r1", {"note": "half \ud800 a character"})
    Ledger(home).close_run("r1", "failed", "said \udfff")
    with catalog.open_catalog(home) as opened:
        (row,) = opened.rows("SELECT config, detail FROM runs")
    assert row == {"config": '{"note":"half \ufffd a character"}', "detail": "said \ufffd"}
