# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
"""One service's way in, as aiobotocore resolves it: endpoint URL, user agent and a signer with live credentials.

The answers are taken from a real aiobotocore client through its public ``before-call`` event, once, when the service is
opened: what configuration, endpoint rules and session plug-ins decide there holds for every call that we then make.

Credentials stand behind one holder: the SDK refreshes them before they expire, and `Signer.renew` looks them up anew
when the service refuses them all the same. `Signer.adjust_clock` follows the service's clock when ours is off.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentials,
    AioDeferredRefreshableCredentials,
    create_credential_resolver,
)
from aiobotocore.session import AioSession
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.loaders import create_loader

from shardline.common.aws.endpoints import check_endpoint, check_region_of_endpoint
from shardline.common.aws.sigv4 import Keys, SigV4
from shardline.common.clock import AsyncioRuntime
from shardline.common.errors import CredentialsRefused, InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from shardline.common.connection import Connection, ServiceSettings

__all__ = ["Route", "Signer", "configured_region", "open_client", "open_route"]

_NO_CREDENTIALS = "no AWS credentials found: none in the environment, in the shared files, or from a role of this host"
CLOCK_SKEW_S_MIN = 60.0
"""Below it a refusal is not the clock's fault (the services allow five minutes)."""
USER_AGENT = "shardline"


class Route:
    """Where one service is, and how requests to it are signed."""

    __slots__ = ("ca_bundle", "region", "signer", "url", "user_agent")

    def __init__(self, url: str, region: str, user_agent: str, signer: Signer, ca_bundle: str | None) -> None:
        self.url = url
        self.region = region
        self.user_agent = user_agent
        self.signer = signer
        self.ca_bundle = ca_bundle

    def __repr__(self) -> str:
        return f"Route({self.url!r}, region={self.region!r})"


class _Holder(AioCredentials):  # type: ignore[misc]  # The SDK is untyped.
    """Credentials as botocore's signer wants them, whose source can be asked again; empty themselves."""

    def __init__(self, load: Callable[[], Awaitable[Any]]) -> None:
        super().__init__("", "", method="shardline")
        self._load = load
        self._current: Any = None
        self._frozen: Any = None

    async def load_credentials(self) -> _Holder:
        """Look the credentials up (botocore's name for it: the holder is the session's credential provider)."""
        self._current = await self._load()
        return self

    @property
    def is_empty(self) -> bool:
        """Whether credentials were looked up, and nobody had any."""
        return self._current is None

    async def get_frozen_credentials(self) -> Any:
        """Return access key, secret and token, refreshed by the SDK where they are about to expire."""
        if self._current is None:
            raise NoCredentialsError
        self._frozen = await _frozen(self._current)
        return self._frozen

    async def renew(self) -> bool:
        """Look the credentials up again and say whether they changed."""
        before = self._frozen
        fresh = await self._load()
        if fresh is None:
            return False
        self._current = fresh
        self._frozen = await _frozen(fresh)
        return before is None or tuple(before)[:3] != tuple(self._frozen)[:3]


async def _frozen(credentials: Any) -> Any:
    """Return frozen credentials of an aiobotocore object, or of botocore's, which may block: a thread asks that."""
    if iscoroutinefunction(credentials.get_frozen_credentials):
        return await credentials.get_frozen_credentials()
    if getattr(credentials, "refresh_needed", bool)():
        return await AsyncioRuntime().run_blocking(credentials.get_frozen_credentials)
    return credentials.get_frozen_credentials()


class _ShiftedContext(dict[str, Any]):
    """A request's context in which botocore's signing time follows the service's clock instead of ours."""

    timestamp = ""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, self.timestamp if key == "timestamp" else value)


class Signer:
    """Signs requests as botocore's own signer does (Signature Version 4).

    The first request is signed by that; if ours gives the same for it, ours signs what follows, else it goes on so.
    """

    def __init__(self, client: Any, signer: Any, context: Mapping[str, Any], holder: _Holder) -> None:
        self._client = client  # Closed, but kept: the signer holds its event hub by a weak reference only.
        self._signer = signer
        self._context = dict(context)
        self._holder = holder
        self._runtime = AsyncioRuntime()
        self._clock_offset_s = 0.0
        self._own: SigV4 | None = None
        self._compared = False

    async def sign(self, operation: str, url: str, headers: dict[str, str], body: Sequence[bytes]) -> dict[str, str]:
        """Return the headers to send; raises `CredentialsRefused` where there are no credentials to sign with."""
        try:
            if self._own is not None:
                keys = _keys(await self._holder.get_frozen_credentials())
                amz_date = _amz_date(self._runtime.wall() + self._clock_offset_s)
                return self._own.headers(headers, body, keys, amz_date)
            signed = await self._signed_by_sdk(operation, url, headers, body)
            if not self._compared:
                self._compared = True
                keys = _keys(await self._holder.get_frozen_credentials())
                self._own = SigV4.like(url, headers, signed, body, keys)
        except (BotoCoreError, ClientError) as error:
            raise CredentialsRefused("NoCredentials", f"no usable AWS credentials ({type(error).__name__})") from error
        return signed

    async def _signed_by_sdk(
        self, operation: str, url: str, headers: dict[str, str], body: Sequence[bytes]
    ) -> dict[str, str]:
        request = AWSRequest(method="POST", url=url, headers=headers, data=b"".join(body))
        request.context = self._request_context()
        await self._signer.sign(operation, request)
        return {key: value.decode() if isinstance(value, bytes) else value for key, value in request.headers.items()}

    def _request_context(self) -> dict[str, Any]:
        if not self._clock_offset_s:
            return dict(self._context)
        context = _ShiftedContext(self._context)
        context.timestamp = _amz_date(self._runtime.wall() + self._clock_offset_s)
        return context

    async def renew(self) -> bool:
        """Look the credentials up again; return whether newer ones were found."""
        try:
            return await self._holder.renew()
        except (BotoCoreError, ClientError):
            return False

    def adjust_clock(self, date_header: str | None) -> bool:
        """Follow the service's clock (its Date header) if it is more than a minute off; return whether it changed."""
        try:
            there = parsedate_to_datetime(date_header or "").timestamp()
        except ValueError:
            return False
        offset_s = there - self._runtime.wall()
        if abs(offset_s - self._clock_offset_s) < CLOCK_SKEW_S_MIN:
            return False
        self._clock_offset_s = offset_s
        return True


def _keys(frozen: Any) -> Keys:
    return Keys(frozen.access_key, frozen.secret_key, frozen.token)


def _amz_date(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def _botocore_session(session: Any) -> Any:
    """Return the botocore session within a boto3 or botocore session; raises `InvalidInput` for anything else."""
    inner = getattr(session, "_session", session)  # boto3.Session keeps it there, under a name it never changed.
    if not all(hasattr(inner, name) for name in ("get_credentials", "get_config_variable")):
        raise InvalidInput("session", "a boto3, botocore or aiobotocore session", type(session).__name__)
    return inner


def _new_session(settings: ServiceSettings) -> AioSession:
    profile = settings.profile
    if settings.session is not None:
        profile = _botocore_session(settings.session).profile
    session = AioSession(profile=profile)
    session.register_component("data_loader", _loader(_config(session, "data_path")))
    return session


@cache
def _loader(data_path: str | None) -> Any:
    """Return the SDK's reader of its own data, shared: it parses megabytes of endpoints, the same for each service."""
    return create_loader(data_path)


def configured_region(settings: ServiceSettings) -> str:
    """Return the region of settings, session, environment or profile; raises `InvalidInput` where none names one."""
    region = settings.region_name
    if region is None and settings.session is not None:
        region = _botocore_session(settings.session).get_config_variable("region")
    if region is None:
        # botocore reads AWS_DEFAULT_REGION only; the other SDKs, Lambda and ECS say AWS_REGION.
        region = os.environ.get("AWS_REGION") or _config(_new_session(settings), "region")
    if region is None:
        raise InvalidInput("region_name", "given, here or as AWS_REGION or in the profile")
    return str(region)


def _config(session: AioSession, name: str) -> str | None:
    try:
        value = session.get_config_variable(name)
    except BotoCoreError as error:  # A profile that does not exist, an unreadable file.
        raise InvalidInput("profile", f"usable ({type(error).__name__})") from error
    return None if value is None else str(value)


def _source(settings: ServiceSettings, session: AioSession) -> Callable[[], Awaitable[Any]]:
    """Return how the credentials of `settings` are looked up, the role left aside."""
    fixed = settings.credentials
    given = settings.session

    async def load() -> Any:
        if fixed is not None:
            return AioCredentials(fixed.access_key_id, fixed.secret_access_key, fixed.session_token)
        if given is None:
            return await create_credential_resolver(session).load_credentials()
        inner = _botocore_session(given)
        if isinstance(inner, AioSession):
            return await inner.get_credentials()
        return await AsyncioRuntime().run_blocking(inner.get_credentials)

    return load


def _assumed(
    settings: ServiceSettings, session: AioSession, source: Callable[[], Awaitable[Any]]
) -> Callable[[], Awaitable[Any]]:
    """Return how a role is assumed with the credentials of `source`, renewed by botocore's own fetcher."""

    def sts(service: str, **arguments: Any) -> Any:
        if settings.sts_endpoint_url is not None:
            arguments["endpoint_url"] = settings.sts_endpoint_url
        return session.create_client(service, region_name=configured_region(settings), **arguments)

    async def load() -> Any:
        holder = await _Holder(source).load_credentials()
        extra = {"RoleSessionName": settings.role_session_name or USER_AGENT, "ExternalId": settings.external_id}
        fetcher = AioAssumeRoleCredentialFetcher(
            client_creator=sts,
            source_credentials=holder,
            role_arn=settings.role_arn,
            extra_args={key: value for key, value in extra.items() if value},
        )
        return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")

    return load


async def open_route(service: str, settings: ServiceSettings) -> Route:
    """Ask aiobotocore where `service` is and how to sign for it; the client it takes is closed again.

    Raises `InvalidInput` for a missing region or an endpoint (configured anywhere) that the rules refuse, and
    `CredentialsRefused` where no source has any: later, the same is a failure of each call, for sources may recover.
    """
    region = configured_region(settings)
    session, holder = _with_credentials(settings)
    config = AioConfig(
        retries={"total_max_attempts": 1, "mode": "standard"},
        parameter_validation=False,
        user_agent_extra=USER_AGENT,
        account_id_endpoint_mode="disabled",
    )
    try:
        async with session.create_client(
            service, region_name=region, endpoint_url=settings.endpoint_url, config=config
        ) as client:
            if holder.is_empty:
                raise CredentialsRefused("NoCredentials", _NO_CREDENTIALS)
            url, user_agent, signer, context = await _capture(client)
    except (BotoCoreError, ClientError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{service} settings", f"usable by the SDK ({type(error).__name__}: {error})") from error
    field = "endpoint_url"
    check_endpoint(field, url, insecure_plain_http=bool(settings.insecure_plain_http))
    check_region_of_endpoint(field, url, region)
    ca_bundle = settings.ca_bundle or _config(session, "ca_bundle")
    return Route(url, region, user_agent, Signer(client, signer, context, holder), ca_bundle)


def _with_credentials(settings: ServiceSettings) -> tuple[AioSession, _Holder]:
    """Return a session whose clients sign with the credentials of `settings`."""
    session = _new_session(settings)
    load = _source(settings, session)
    if settings.role_arn is not None:
        load = _assumed(settings, session, load)
    holder = _Holder(load)
    session.register_component("credential_provider", holder)
    return session, holder


@asynccontextmanager
async def open_client(service: str, connection: Connection) -> AsyncGenerator[Any]:
    """Open the SDK's own client of a service that we seldom call; it tries once. Raises as `open_route` does."""
    settings = connection.settings(service)
    region = configured_region(settings)
    session, holder = _with_credentials(settings)
    await holder.load_credentials()
    proxy, local = settings.proxy_url, settings.endpoint_url is not None
    config = AioConfig(
        retries={"total_max_attempts": 1, "mode": "standard"},
        user_agent_extra=USER_AGENT,
        connect_timeout=connection.connect_timeout_s,
        read_timeout=connection.read_timeout_s,
        proxies=None if proxy is None else {"http": proxy, "https": proxy},
        # An endpoint of one's own has no name for each bucket, and need not know newer checksums.
        s3={"addressing_style": "path"} if local else None,
        request_checksum_calculation="when_required" if local else None,
        response_checksum_validation="when_required" if local else None,
    )
    verify = False if settings.insecure_skip_tls_verification else settings.ca_bundle
    try:
        opening = session.create_client(
            service, region_name=region, endpoint_url=settings.endpoint_url, config=config, verify=verify
        )
    except (BotoCoreError, ValueError) as error:
        raise InvalidInput(f"{service} settings", f"usable by the SDK ({type(error).__name__}: {error})") from error
    async with opening as client:
        check_endpoint("endpoint_url", client.meta.endpoint_url, insecure_plain_http=bool(settings.insecure_plain_http))
        yield client


class _Answered:
    """What botocore needs to see of an HTTP answer to be content."""

    status_code = 200


async def _capture(client: Any) -> tuple[str, str, Any, Mapping[str, Any]]:
    """Return URL, user agent, signer and request context of the client's requests, without sending one."""
    found: dict[str, Any] = {}

    def answer(params: Mapping[str, Any], request_signer: Any, context: Mapping[str, Any], **_: Any) -> Any:
        found.update(
            url=params["url"], user_agent=params["headers"]["User-Agent"], signer=request_signer, context=context
        )
        return _Answered(), {}

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register_first(f"before-call.{service}", answer)
    probe = {"kinesis": "list_streams", "dynamodb": "list_tables", "cloudwatch": "list_dashboards"}[service]
    await getattr(client, probe)()
    user_agent = found["user_agent"]
    return (
        found["url"],
        user_agent.decode() if isinstance(user_agent, bytes) else user_agent,
        found["signer"],
        found["context"],
    )
