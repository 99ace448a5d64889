"""`Connection`: where producer and worker find AWS, or anything that speaks like it; a value, opened by the drivers.

It holds settings only and imports no SDK; opening a service does. Everything left out is looked for where every AWS
tool looks: environment (``AWS_REGION``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL``, ``AWS_ENDPOINT_URL_KINESIS``,
``AWS_CA_BUNDLE``, ``HTTPS_PROXY``, ``NO_PROXY``), configuration files, container and instance roles.

Invariants: no secret in `repr` or messages; endpoints obey `shardline.common.aws.endpoints`, wherever they come from;
TLS 1.2 or later, certificates verified unless a setting whose name says "insecure" was given.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

from shardline.common.aws.endpoints import REGION, check_endpoint, check_proxy
from shardline.common.checks import TIMEOUT_S_MAX, check_flag, check_kind, check_number
from shardline.common.errors import InvalidInput, MissingExtra

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from shardline.common.events import Events
    from shardline.common.ports.kinesis import KinesisApi
    from shardline.common.ports.lease_store import LeaseStore
    from shardline.common.ports.metrics import MetricsApi
    from shardline.common.ports.storage import MessageQueue, ObjectStore

__all__ = ["Connection", "Credentials", "ServiceSettings", "Wire"]

Wire = Literal["auto", "json", "cbor"]
_WIRES = ("auto", "json", "cbor")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """Fixed credentials, for emulators and tests; real ones belong into the provider chain, which renews them."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __post_init__(self) -> None:
        if not self.access_key_id or not self.secret_access_key:
            raise InvalidInput("credentials", "a non-empty access key id and secret access key")

    def __repr__(self) -> str:
        return "Credentials(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled")


_TIMEOUT_S_MIN: Final = 0.001
_TEXTS: Final = (
    "profile",
    "role_arn",
    "role_session_name",
    "external_id",
    "sts_endpoint_url",
    "region_name",
    "endpoint_url",
    "proxy_url",
    "ca_bundle",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How to reach one service; None means: as the connection's `default`, then as the AWS environment says.

    `session` is a boto3, botocore or aiobotocore session, used as the source of credentials and region. `role_arn` is
    assumed with those credentials through STS (reached at `sts_endpoint_url` where given) and renewed before it
    expires. `ca_bundle` is the path of a PEM file; without it the platform's trust store holds.

    Raises `InvalidInput` for a value outside its range.
    """

    session: Any = field(default=None, repr=False)
    profile: str | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    role_arn: str | None = None
    role_session_name: str | None = None
    external_id: str | None = field(default=None, repr=False)
    sts_endpoint_url: str | None = None
    region_name: str | None = None
    endpoint_url: str | None = None
    proxy_url: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    insecure_skip_tls_verification: bool | None = None
    insecure_plain_http: bool | None = None

    def __post_init__(self) -> None:
        sources = [name for name in ("session", "profile", "credentials") if getattr(self, name) is not None]
        self._check_kinds()
        if len(sources) > 1:
            raise InvalidInput(sources[0], f"alone: {' and '.join(sources)} exclude each other")
        if self.region_name is not None and not REGION.fullmatch(self.region_name):
            raise InvalidInput("region_name", "an AWS region such as eu-central-1")
        for name in ("endpoint_url", "sts_endpoint_url"):
            url = getattr(self, name)
            if url is not None:
                check_endpoint(name, url, insecure_plain_http=bool(self.insecure_plain_http))
        if self.proxy_url is not None:
            check_proxy("proxy_url", self.proxy_url)
        if self.role_arn is not None and not (self.role_arn.startswith("arn:") and ":role/" in self.role_arn):
            raise InvalidInput("role_arn", "an ARN of the form arn:aws:iam::ACCOUNT:role/NAME")
        if self.role_arn is None and (self.role_session_name or self.external_id):
            raise InvalidInput("role_arn", "given where role_session_name or external_id is")

    def _check_kinds(self) -> None:
        for name in _TEXTS:
            if getattr(self, name) is not None:
                check_kind(name, getattr(self, name), str)
        for name in ("insecure_skip_tls_verification", "insecure_plain_http"):
            if getattr(self, name) is not None:
                check_flag(name, getattr(self, name))
        if self.credentials is not None:
            check_kind("credentials", self.credentials, Credentials)

    def over(self, default: ServiceSettings) -> ServiceSettings:
        """Return these settings with every None taken from `default`.

        Credentials go together: who names a source of its own inherits neither the default's source nor its role.
        """
        own_source = any(v is not None for v in (self.session, self.profile, self.credentials, self.role_arn))
        identity = {"session", "profile", "credentials", "role_arn", "role_session_name", "external_id"}
        values = {
            f.name: getattr(self, f.name)
            if getattr(self, f.name) is not None or (own_source and f.name in identity)
            else getattr(default, f.name)
            for f in fields(self)
        }
        if self.role_arn is not None and not any((self.session, self.profile, self.credentials)):
            # A role of its own is assumed with the default's credentials.
            values |= {name: getattr(default, name) for name in ("session", "profile", "credentials")}
        return ServiceSettings(**values)


_NOTHING = ServiceSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The way to Kinesis, DynamoDB and CloudWatch; implements `shardline.common.ports.services.Services`.

    The short fields (`session` ... `insecure_plain_http`) are the common default; `kinesis_settings`,
    `dynamodb_settings`, `cloudwatch_settings`, `s3_settings` and `sqs_settings` change single services. Time-outs are
    seconds: `connect_timeout_s` for TCP and TLS together, `read_timeout_s` for the longest silence within an answer;
    each call has its own limit on top.
    `wire` is the encoding of Kinesis' large bodies: `auto` sends the first control-plane call as CBOR where cbor2 is
    installed, and takes what the service answers. `events` hears which wire was chosen.

    Raises `InvalidInput` for a value outside its range, before anything is opened.
    """

    session: Any = field(default=None, repr=False)
    profile: str | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    role_arn: str | None = None
    role_session_name: str | None = None
    external_id: str | None = field(default=None, repr=False)
    sts_endpoint_url: str | None = None
    region_name: str | None = None
    endpoint_url: str | None = None
    proxy_url: str | None = field(default=None, repr=False)
    ca_bundle: str | None = None
    insecure_skip_tls_verification: bool = False
    insecure_plain_http: bool = False
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    wire: Wire = "auto"
    kinesis_settings: ServiceSettings = _NOTHING
    dynamodb_settings: ServiceSettings = _NOTHING
    cloudwatch_settings: ServiceSettings = _NOTHING
    s3_settings: ServiceSettings = _NOTHING
    sqs_settings: ServiceSettings = _NOTHING
    events: Events | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s"):
            check_number(name, getattr(self, name), _TIMEOUT_S_MIN, TIMEOUT_S_MAX, "seconds")
        if self.wire not in _WIRES:
            raise InvalidInput("wire", f"one of {', '.join(_WIRES)}")
        for name in ("kinesis", "dynamodb", "cloudwatch", "s3", "sqs"):
            check_kind(f"{name}_settings", getattr(self, f"{name}_settings"), ServiceSettings)
            self.settings(name)

    def settings(self, service: str) -> ServiceSettings:
        """Return the settings of `service` (kinesis, dynamodb, cloudwatch, s3, sqs), the common default filled in."""
        default = ServiceSettings(
            session=self.session,
            profile=self.profile,
            credentials=self.credentials,
            role_arn=self.role_arn,
            role_session_name=self.role_session_name,
            external_id=self.external_id,
            sts_endpoint_url=self.sts_endpoint_url,
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            proxy_url=self.proxy_url,
            ca_bundle=self.ca_bundle,
            insecure_skip_tls_verification=self.insecure_skip_tls_verification,
            insecure_plain_http=self.insecure_plain_http,
        )
        own: ServiceSettings = getattr(self, f"{service}_settings")
        return own.over(default)

    @property
    def region(self) -> str:
        """The region's name; raises `InvalidInput` where none is configured, `MissingExtra` without the SDK."""
        _require_sdk()
        from shardline.common.aws.session import configured_region  # noqa: PLC0415 - loads the SDK only when used.

        return configured_region(self.settings("kinesis"))

    def kinesis(self, *, connections_max: int = 24) -> AbstractAsyncContextManager[KinesisApi]:
        """Open Kinesis with a pool of at most `connections_max` connections (1 to 10,000).

        Raises `MissingExtra` without the SDK; entering raises `InvalidInput` where no region is configured.
        """
        _require_sdk()
        from shardline.common.aws.kinesis import open_kinesis  # noqa: PLC0415 - loads the SDK only when used.

        return open_kinesis(self, connections_max=connections_max)

    def lease_store(self) -> AbstractAsyncContextManager[LeaseStore]:
        """Open DynamoDB; raises as `kinesis` does."""
        _require_sdk()
        from shardline.common.aws.lease_store import open_lease_store  # noqa: PLC0415 - loads the SDK only when used.

        return open_lease_store(self)

    def metrics(self) -> AbstractAsyncContextManager[MetricsApi]:
        """Open CloudWatch; raises as `kinesis` does."""
        _require_sdk()
        from shardline.common.aws.cloudwatch import open_metrics  # noqa: PLC0415 - loads the SDK only when used.

        return open_metrics(self)

    def objects(self) -> AbstractAsyncContextManager[ObjectStore]:
        """Open S3; raises as `kinesis` does."""
        _require_sdk()
        from shardline.common.aws.storage import open_objects  # noqa: PLC0415 - loads the SDK only when used.

        return open_objects(self)

    def queue(self) -> AbstractAsyncContextManager[MessageQueue]:
        """Open SQS; raises as `kinesis` does."""
        _require_sdk()
        from shardline.common.aws.storage import open_queue  # noqa: PLC0415 - loads the SDK only when used.

        return open_queue(self)


def _require_sdk() -> None:
    if find_spec("aiobotocore") is None:
        raise MissingExtra("A connection to AWS", "producer")
