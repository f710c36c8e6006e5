"""Secrets are named, never written: what is refused, what is fetched, and what is hidden."""

import logging

import pytest

from spar_core.config.launch import LaunchConfig
from spar_core.config.loading import load_config, preset_names
from spar_core.engines.configuration import OpenAIEngineConfig, VllmEngineConfig
from spar_core.errors import ConfigError
from spar_core.secrets import fetched, hide_in_logs, looks_secret, redacted, redacted_text, with_fields, with_values

CANARY = "canary-7f3a91d2"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "OPENAI_API_KEY_2", "X-Api-Key", "apiKey"],
)
def test_names_of_secrets(name):
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "TOKENIZERS_PARALLELISM",
        "api_key_env",
        "PASSWORD_FILE",
        "VLLM_CPU_KVCACHE_SPACE",
        "ssl-keyfile",
        "long-prefill-token-threshold",
        "enable-prompt-tokens-details",
    ],
)
def test_names_of_other_things(name):
    assert not looks_secret(name)


@pytest.mark.parametrize(
    "values",
    [
        {"HF_TOKEN": CANARY},
        {"PLAIN": "sk-canary7f3a91d2"},
        {"HTTPS_PROXY": f"http://user:{CANARY}@proxy:3128"},
        {"HF_TOKEN": f"${CANARY}"},
        {"HF_TOKEN": {"from_env": CANARY}},
    ],
)
@pytest.mark.parametrize(
    "made",
    [
        lambda values: LaunchConfig(environment=values),
        lambda values: VllmEngineConfig(env=values),
        lambda values: OpenAIEngineConfig(base_urls=("http://a",), model="m", extra_body={"deep": [values]}),
    ],
)
def test_a_literal_secret_is_refused_and_not_repeated(made, values):
    with pytest.raises(ValueError, match="variable") as refused:
        made(values)
    assert "7f3a91d2" not in str(refused.value)


def test_secrets_by_name_are_fetched_when_a_process_starts(monkeypatch):
    launch = LaunchConfig(environment={"A": "$SOURCE_TOKEN", "B": {"from_env": "SOURCE_TOKEN"}, "C": "plain"})
    assert launch.environment == {"A": "$SOURCE_TOKEN", "B": "$SOURCE_TOKEN", "C": "plain"}
    monkeypatch.setenv("SOURCE_TOKEN", CANARY)
    assert with_values(launch.environment, "where") == {"A": CANARY, "B": CANARY, "C": "plain"}
    monkeypatch.delenv("SOURCE_TOKEN")
    with pytest.raises(ConfigError, match=r"SOURCE_TOKEN \(where\.A\) is not set"):
        with_values(launch.environment, "where")


def test_secrets_of_request_fields_are_fetched_when_a_request_is_made(monkeypatch):
    monkeypatch.setenv("SOURCE_TOKEN", CANARY)
    fields = {"user": {"from_env": "SOURCE_TOKEN"}, "stop": ["$END"], "top_k": 3}
    assert with_fields(fields, "extra_body") == {"user": CANARY, "stop": ["$END"], "top_k": 3}


@pytest.mark.parametrize("arguments", [("--api-key", CANARY), (f"--api-key={CANARY}",), ("--hf-token", CANARY)])
def test_arguments_of_a_server_show_no_secret(arguments):
    with pytest.raises(ValueError, match="list of processes") as refused:
        VllmEngineConfig(extra_args=arguments)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "override",
    [
        f"training.launch.environment.HF_TOKEN={CANARY}",
        f"training.launch.environment={{HF_TOKEN: {CANARY}}}",
        f"training.launch.environment={CANARY}",
        f"training.launch.environment.HF_TOKEN {CANARY}",
        f"training.launch.environment={{HF_TOKEN: {CANARY}",
        f"method.judging.second_voter=https://me:{CANARY}@host/v1#m",
        f"method.judging.second_voter=https://host/v1?key={CANARY}#m",
        f"method.judging.second_voter=https://host/v1#m&key={CANARY}",
        f"no.such.api_key={CANARY}",
    ],
)
def test_an_override_with_a_secret_is_refused_and_not_repeated(override):
    with pytest.raises(ConfigError) as refused:
        load_config("smoke", overrides=[override])
    shown: BaseException | None = refused.value
    while shown is not None:  # what a log of the error would hold
        assert CANARY not in str(shown)
        shown = shown.__cause__


def test_a_configuration_file_with_a_secret_is_not_quoted(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(f"training: {{launch: {{environment: {{HF_TOKEN: {CANARY}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 2") as refused:
        load_config(file=file)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("preset", preset_names())
def test_an_honest_configuration_is_shown_as_it_is(preset):
    values = load_config(preset).model_dump(mode="json")
    assert redacted(values) == values


def test_what_is_shown_of_a_configuration_holds_no_secret(monkeypatch):
    monkeypatch.setenv("ODDLY_NAMED", CANARY)
    assert fetched("ODDLY_NAMED", "a test") == CANARY
    shown = redacted(
        {
            "env": {"HF_TOKEN": "anything", "GOOD_TOKEN": "$NAME"},
            "list": [f"has {CANARY} inside"],
            "max_tokens": 5,
            "api_key_env": "NAME",
        }
    )
    assert shown == {
        "env": {"HF_TOKEN": "***", "GOOD_TOKEN": "$NAME"},
        "list": ["has *** inside"],
        "max_tokens": 5,
        "api_key_env": "NAME",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://me:pw@host/v1?api_key=abc&x=1", "GET https://***@host/v1?api_key=***&x=1"),
        ("https://host/v1#m&key=VARIABLE", "https://host/v1#m&key=VARIABLE"),
        ("Incorrect API key provided: sk-abcdefghijkl.", "Incorrect API key provided: ***."),
        ("Authorization: Bearer abc", "Authorization: ***"),
        ("who@example.org wrote a key idea", "who@example.org wrote a key idea"),
    ],
)
def test_texts_are_freed_of_secrets(text, shown):
    assert redacted_text(text) == shown


def test_logs_hold_no_secret_of_the_environment(monkeypatch, caplog):
    monkeypatch.setenv("SOME_SERVICE_PASSWORD", CANARY)
    before = logging.getLogRecordFactory()
    try:
        hide_in_logs()
        log = logging.getLogger("elsewhere")
        log.error("sent %s to %s", CANARY, "host")
        try:
            raise ValueError(f"refused {CANARY}")
        except ValueError:
            log.exception("failed")
    finally:
        logging.setLogRecordFactory(before)
    assert "sent *** to host" in caplog.text
    assert "refused ***" in caplog.text
    assert CANARY not in caplog.text
