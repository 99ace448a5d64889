"""`Connection`: what it refuses before anything is opened, how settings are inherited, what it never shows."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from shardline.common.aws.endpoints import check_endpoint, check_region_of_endpoint, is_loopback
from shardline.common.connection import Connection, Credentials, ServiceSettings
from shardline.common.errors import InvalidInput, MissingExtra

SECRET = Credentials(access_key_id="AKIDSECRET", secret_access_key="verysecret", session_token="tokensecret")


@pytest.mark.parametrize(
    "url",
    [
        "https://kinesis.us-east-1.amazonaws.com",
        "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com:443/",
        "http://localhost:4567",
        "http://127.0.0.1:1",
        "http://[::1]:4567",
        "http://kinesis.localhost:4567",
    ],
)
def test_endpoints_that_may_be_used(url: str) -> None:
    """Https anywhere and http to this machine are endpoints."""
    check_endpoint("endpoint_url", url)
    assert Connection(endpoint_url=url).endpoint_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://kinesis.us-east-1.amazonaws.com",
        "http://localhost.evil.example:4567",
        "http://127.0.0.1.evil.example",
        "ftp://localhost",
        "https://user:hunter2@host",
        "https://host/#fragment",
        "https://host/?query=1",
        "https://",
        "kinesis.us-east-1.amazonaws.com",
        "https://host:port",
        "https://ho st",
        "https://host\r\nX: y",
        "",
    ],
)
def test_endpoints_that_are_refused(url: str) -> None:
    """Anything else is refused by name of the setting, and its text is not repeated."""
    with pytest.raises(InvalidInput, match="endpoint_url") as refused:
        Connection(endpoint_url=url)
    assert "hunter2" not in str(refused.value)


def test_plain_http_elsewhere_needs_a_flag_called_insecure() -> None:
    """A flag that says insecure opens http to other hosts, per service or for all."""
    assert Connection(endpoint_url="http://kinesis:4567", insecure_plain_http=True).endpoint_url
    ServiceSettings(endpoint_url="http://kinesis:4567", insecure_plain_http=True)
    with pytest.raises(InvalidInput, match="insecure_plain_http"):
        ServiceSettings(endpoint_url="http://kinesis:4567")


def test_an_aws_endpoint_must_be_of_the_region_signed_for() -> None:
    """A host of another region is refused; hosts that name no region are nobody's business."""
    check_region_of_endpoint("endpoint_url", "https://kinesis.us-east-1.amazonaws.com", "us-east-1")
    check_region_of_endpoint("endpoint_url", "https://kinesis-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1")
    check_region_of_endpoint("endpoint_url", "https://localhost:1", "us-east-1")
    with pytest.raises(InvalidInput, match="eu-west-1"):
        check_region_of_endpoint("endpoint_url", "https://kinesis.eu-west-1.amazonaws.com", "us-east-1")


def test_loopback_is_judged_by_spelling() -> None:
    """Only names and addresses that are this machine by definition count."""
    assert all(map(is_loopback, ("localhost", "a.localhost", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("localhost.example", "0.0.0.0", "10.0.0.1", "", "127.0.0.1.example")))


@pytest.mark.parametrize(
    "settings",
    [
        {"connect_timeout_s": 0},
        {"connect_timeout_s": -1},
        {"read_timeout_s": float("nan")},
        {"read_timeout_s": float("inf")},
        {"read_timeout_s": True},
        {"wire": "protobuf"},
        {"region_name": "Frankfurt"},
        {"profile": "a", "credentials": SECRET},
        {"role_arn": "arn:aws:iam::123456789012:user/x"},
        {"external_id": "x"},
        {"proxy_url": "proxy:8080"},
        {"proxy_url": "http://proxy:8080/path"},
    ],
)
def test_values_out_of_range_are_refused_by_name(settings: dict[str, object]) -> None:
    """Each setting out of its range is an `InvalidInput` on construction."""
    with pytest.raises(InvalidInput) as refused:
        Connection(**settings)  # type: ignore[arg-type]  # wrong types are the point.
    assert refused.value.field in settings or refused.value.field == "role_arn"


def test_secrets_are_neither_shown_nor_pickled() -> None:
    """Neither repr nor pickle carries a key, token or proxy password."""
    connection = Connection(
        credentials=SECRET,
        proxy_url="http://me:verysecret@proxy:1",
        kinesis_settings=ServiceSettings(credentials=SECRET),
    )
    assert "secret" not in repr(connection).replace("secret_access_key", "").lower().replace("credentials", "")
    assert "AKID" not in repr(connection) + repr(SECRET)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(SECRET)


def test_a_service_overrides_the_default_and_credentials_go_together() -> None:
    """A service's own source of credentials inherits neither the default's source nor its role."""
    connection = Connection(
        region_name="eu-west-1",
        credentials=SECRET,
        role_arn="arn:aws:iam::123456789012:role/r",
        external_id="x",
        endpoint_url="http://localhost:1",
        dynamodb_settings=ServiceSettings(profile="other", endpoint_url="http://localhost:2"),
        cloudwatch_settings=ServiceSettings(role_arn="arn:aws:iam::123456789012:role/metrics"),
    )
    kinesis, dynamodb = connection.settings("kinesis"), connection.settings("dynamodb")
    assert (kinesis.credentials, kinesis.role_arn, kinesis.endpoint_url) == (
        SECRET,
        connection.role_arn,
        "http://localhost:1",
    )
    assert (dynamodb.credentials, dynamodb.role_arn, dynamodb.external_id) == (None, None, None)
    assert (dynamodb.profile, dynamodb.endpoint_url, dynamodb.region_name) == (
        "other",
        "http://localhost:2",
        "eu-west-1",
    )
    metrics = connection.settings("cloudwatch")
    assert (metrics.credentials, metrics.role_arn, metrics.external_id) == (
        SECRET,
        "arn:aws:iam::123456789012:role/metrics",
        None,
    )


def test_importing_and_building_a_connection_loads_no_sdk() -> None:
    """The module costs no SDK until a service is opened."""
    program = (
        "import sys; from shardline.common.connection import Connection; Connection(region_name='us-east-1');"
        "print([m for m in ('botocore', 'aiobotocore', 'aiohttp', 'boto3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_sdk_opening_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing aiobotocore is answered with the pip install that helps."""

    def nothing(_name: str) -> None:
        return None

    monkeypatch.setattr("shardline.common.connection.find_spec", nothing)
    with pytest.raises(MissingExtra, match=r"pip install 'shardline\[producer\]'"):
        Connection(region_name="us-east-1").kinesis()


def test_region_comes_from_setting_session_or_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """The setting wins over the session, the session over the environment; none at all is an error."""
    import botocore.session

    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    session: Any = botocore.session.Session()
    session.set_config_variable("region", "eu-north-1")
    assert Connection(session=session, region_name="us-west-2").region == "us-west-2"
    assert Connection(session=session).region == "eu-north-1"
    with pytest.raises(InvalidInput, match="region_name"):
        _ = Connection().region
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert Connection().region == "ap-south-1"
    monkeypatch.setenv("AWS_REGION", "sa-east-1")
    assert Connection().region == "sa-east-1"


def test_connections_are_values() -> None:
    """Equal settings make equal connections; copies are equal."""
    assert Connection(region_name="us-east-1") == copy.copy(Connection(region_name="us-east-1"))


def test_a_profile_that_does_not_exist_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A misspelt profile is a setting out of range, not an error of the SDK."""
    monkeypatch.setenv("AWS_CONFIG_FILE", f"{tmp_path}/none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{tmp_path}/none")
    with pytest.raises(InvalidInput, match="profile"):
        _ = Connection(profile="nobody").region
