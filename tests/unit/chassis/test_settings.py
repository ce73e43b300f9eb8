"""A wrong setting is told in a line that names it, without its value, and status 2."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from chassis.identity import Vouching
from chassis.kafka import connection, knock
from chassis.service import Service, main
from chassis.settings import Settings, complaints
from services.gateway.settings import GatewaySettings


def build() -> tuple[Service, FastAPI]:
    settings = GatewaySettings()
    Vouching(settings.internal_secret)
    pytest.fail("the settings were taken")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HOSTLER_HTTP_PORT", "many", "HOSTLER_HTTP_PORT: Input should be a valid integer"),
        ("HOSTLER_HTTP_PORT", "70000", "HOSTLER_HTTP_PORT: Input should be less than"),
        ("HOSTLER_LOG_LEVEL", "LOUD", "HOSTLER_LOG_LEVEL: Input should be 'DEBUG', 'INFO'"),
        ("HOSTLER_PROJECTS", "shop", "HOSTLER_PROJECTS: is not JSON"),
        ("HOSTLER_PROJECTS", '{"shop": 1}', "HOSTLER_PROJECTS.shop: Input should be a valid str"),
        ("HOSTLER_DATABASE_URL", "secret-place", "HOSTLER_DATABASE_URL: begin it with"),
        ("HOSTLER_DATABASE_URL", "mysql://me:secret@db", "HOSTLER_DATABASE_URL: begin it with"),
        ("HOSTLER_DATABASE_URL", "postgresql+psycopg://me:secret@db:x/h", "HOSTLER_DATABASE_URL:"),
        ("HOSTLER_KAFKA_BOOTSTRAP_SERVERS", "kafka", "HOSTLER_KAFKA_BOOTSTRAP_SERVERS: write"),
        ("HOSTLER_KAFKA_SSL_CAFILE", "/secret/ca.pem", "HOSTLER_KAFKA_SSL_CAFILE: Path does not"),
        ("HOSTLER_KAFKA_SSL_KEYFILE", "/etc/hostname", "HOSTLER_KAFKA_SSL_KEYFILE: needs HOST"),
        ("HOSTLER_KAFKA_PASSWORD_FILE", "/secret/it", "HOSTLER_KAFKA_PASSWORD_FILE: Path does not"),
        ("HOSTLER_FIRST_API_KEY", "secret", "HOSTLER_FIRST_API_KEY: Value should have at least 32"),
        ("HOSTLER_INTERNAL_SECRET", "secret", "HOSTLER_INTERNAL_SECRET: needs 32 characters"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line_without_its_value(
    variable: str,
    value: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOSTLER_INTERNAL_SECRET", "s" * 32)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        main(build)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(told)
    assert said.count("\n") == 1
    assert "secret" not in said


def test_a_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTLER_LOG_LEVEL", "debug")
    assert GatewaySettings().log_level == "DEBUG"


async def test_a_broker_that_is_gone_is_named() -> None:
    settings = GatewaySettings(kafka_bootstrap_servers="127.0.0.1:1")
    with pytest.raises(ConnectionError, match="Kafka at 127"):
        await knock(settings)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, {"HOSTLER_KAFKA_USERNAME", "HOSTLER_KAFKA_PASSWORD_FILE"}),
        ({"kafka_username": "me"}, {"HOSTLER_KAFKA_PASSWORD_FILE"}),
        ({"kafka_password": "secret"}, {"HOSTLER_KAFKA_USERNAME"}),
        (
            {
                "kafka_username": "me",
                "kafka_password": "secret",
                "kafka_password_file": "/etc/hosts",
            },
            {"HOSTLER_KAFKA_PASSWORD_FILE"},
        ),
    ],
)
def test_sasl_asks_for_a_user_and_one_password(given: dict[str, str], told: set[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"kafka_security_protocol": "SASL_SSL", **given})
    said = complaints(refused.value)
    assert {line.partition(":")[0] for line in said} == told
    assert "secret" not in "".join(said)


def test_a_password_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from a file\n")
    given = {"kafka_security_protocol": "SASL_SSL", "kafka_username": "me"}
    settings = Settings.model_validate(given | {"kafka_password_file": file})
    assert connection(settings)["sasl_plain_password"] == "from a file"
