"""The simulated provider as an ASGI application."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TypeVar

import msgspec

from avengers_pro.demo.generate import SampleRow
from avengers_pro.demo.pool import MODELS
from avengers_pro.demo.provider.answer import compose
from avengers_pro.demo.provider.arrivals import Arrival, Arrivals
from avengers_pro.demo.provider.chat_request import ChatRequest, read_request
from avengers_pro.demo.provider.exchange import Application, ClientGoneError, Exchange, Receive, Scope, Send
from avengers_pro.demo.provider.failing import fail
from avengers_pro.demo.provider.faults import ANY_MODEL, Fault, FaultPlan, Plan, fault_named, read_plan
from avengers_pro.demo.provider.outcomes import Outcome, Outcomes, sample_outcomes
from avengers_pro.demo.provider.pace import Speed
from avengers_pro.demo.provider.refusal import RefusalError
from avengers_pro.demo.provider.replying import Reply, send
from avengers_pro.errors import SettingsError
from avengers_pro.suggestion import unknown_key

_Value = TypeVar("_Value")

_AT_ONCE = Speed()


def create_provider(
    *,
    models: Iterable[str] | None = None,
    seed: int = 0,
    speed: Speed | Mapping[str, Speed] = _AT_ONCE,
    faults: Plan | None = None,
    api_key: str | None = None,
    context: int | Mapping[str, int] | None = None,
    rows: Iterable[SampleRow] | None = None,
) -> Application:
    """Create a provider; run it with `serving`, which can also reset connections.

    It answers ``POST /v1/chat/completions`` and ``GET /v1/models``. Beside these, ``GET /requests`` lists the latest
    10,000 requests under ``/v1``, ``DELETE /requests`` forgets them, ``PUT /faults`` replaces the faults, and
    ``GET /healthz`` says that it runs. A request's header ``x-simulate: <fault>`` goes before the faults of the plan.

    Args:
        models: Names it answers to; None = those of the sample pool.
        seed: Changes wording, quality and which requests meet faults.
        speed: Of all models, or by model; ``*`` stands for those not named, which else answer at once.
        faults: By model, or ``*`` for all: ``{"*": [{"fault": "429", "share": 0.05, "times": 3}]}``.
        api_key: Requests under ``/v1`` must carry it as bearer token; None = no key is asked for.
        context: Longest prompt in tokens, of all models or by model; None, or not named = any length.
        rows: Simulated records that decide quality and length of answers; None = the shipped sample.

    Raises:
        SettingsError: If a fault is wrong, or a model in ``faults``, ``speed`` or ``context`` is not in ``models``.
    """
    names = tuple(model.name for model in MODELS) if models is None else tuple(models)
    for what, given in (("speed", speed), ("context", context)):
        if isinstance(given, Mapping):
            unknown_key(given, (ANY_MODEL, *names), what)
    return _Provider(
        names,
        seed=seed,
        speeds={ANY_MODEL: speed} if isinstance(speed, Speed) else speed,
        faults=faults or {},
        api_key=api_key,
        contexts={ANY_MODEL: context} if isinstance(context, int) else context or {},
        outcomes=_outcomes(names, rows),
    )


class _Provider:
    def __init__(
        self,
        models: tuple[str, ...],
        *,
        seed: int,
        speeds: Mapping[str, Speed],
        faults: Plan,
        api_key: str | None,
        contexts: Mapping[str, int],
        outcomes: Outcomes | None,
    ) -> None:
        self._models = models
        self._seed = seed
        self._speeds = speeds
        self._faults = FaultPlan(read_plan(faults, models), seed)
        self._api_key = api_key
        self._contexts = contexts
        self._outcomes = outcomes
        self._arrivals = Arrivals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(Exchange(scope, receive, send))

    async def _serve(self, exchange: Exchange) -> None:
        arrival = self._arrivals.note(exchange.method, exchange.path, exchange.headers)
        try:
            arrival.body = await exchange.read()
            await self._answer(exchange, arrival)
        except RefusalError as refusal:
            await exchange.respond(refusal.status, refusal.body)
        except ClientGoneError:
            arrival.disconnected = True
        finally:
            arrival.status = exchange.status
            arrival.done = True
            exchange.close()

    async def _answer(self, exchange: Exchange, arrival: Arrival) -> None:
        match exchange.method, exchange.path:
            case "POST", "/v1/chat/completions":
                await self._complete(exchange, arrival)
            case "GET", "/v1/models":
                self._authorise(exchange)
                await exchange.respond(HTTPStatus.OK, self._model_list())
            case "GET", "/requests":
                await exchange.respond(HTTPStatus.OK, self._arrivals.to_json())
            case "DELETE", "/requests":
                self._arrivals.clear()
                await exchange.respond(HTTPStatus.OK, b"{}")
            case "PUT", "/faults":
                await exchange.respond(HTTPStatus.OK, self._replace_faults(arrival.body))
            case "GET", "/healthz":
                await exchange.respond(HTTPStatus.OK, b'{"status":"ok"}')
            case _:
                raise RefusalError(
                    HTTPStatus.NOT_FOUND, f"Unknown request URL: {exchange.method} {exchange.path}.", code="unknown_url"
                )

    async def _complete(self, exchange: Exchange, arrival: Arrival) -> None:
        self._authorise(exchange)
        request = read_request(arrival.body)
        if request.model not in self._models:
            raise RefusalError(
                HTTPStatus.NOT_FOUND,
                f"The model `{request.model}` does not exist or you do not have access to it.",
                code="model_not_found",
                param="model",
            )
        fault = self._fault(exchange, request.model)
        arrival.fault = None if fault is None else fault.fault
        self._check_length(request)
        answer = compose(request, self._outcome(request), seed=self._seed, number=arrival.number)
        reply = Reply(request=request, answer=answer, speed=_of_model(self._speeds, request.model) or _AT_ONCE)
        if fault is None:
            await send(exchange, reply)
        else:
            await fail(exchange, reply, fault)

    def _authorise(self, exchange: Exchange) -> None:
        if self._api_key is not None and exchange.headers.get("authorization") != f"Bearer {self._api_key}":
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "Incorrect API key provided.", code="invalid_api_key")

    def _fault(self, exchange: Exchange, model: str) -> Fault | None:
        """Return what the request's header asks for, else what the plan draws."""
        asked = exchange.headers.get("x-simulate")
        if asked is None:
            return self._faults.draw(model)
        try:
            return fault_named(asked)
        except SettingsError as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, f"x-simulate: {error}.", param="x-simulate") from error

    def _check_length(self, request: ChatRequest) -> None:
        most, tokens = _of_model(self._contexts, request.model), request.prompt_tokens()
        if most is not None and tokens > most:
            raise RefusalError(
                HTTPStatus.BAD_REQUEST,
                f"This model's maximum context length is {most} tokens. However, your messages resulted in {tokens} "
                "tokens. Please reduce the length of the messages.",
                code="context_length_exceeded",
                param="messages",
            )

    def _outcome(self, request: ChatRequest) -> Outcome | None:
        """Return quality and length, if the records know them."""
        if self._outcomes is None:
            return None
        return self._outcomes.outcome(request.model, request.question, self._seed)

    def _model_list(self) -> bytes:
        cards = [{"id": name, "object": "model", "created": 0, "owned_by": "simulated"} for name in self._models]
        return msgspec.json.encode({"object": "list", "data": cards})

    def _replace_faults(self, body: bytes) -> bytes:
        """Put another plan in place of the present one, if it is sound; return it as understood."""
        try:
            plan = read_plan(msgspec.json.decode(body), self._models)
        except (SettingsError, msgspec.DecodeError) as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, f"{error}.") from error
        self._faults = FaultPlan(plan, self._seed)
        return msgspec.json.encode(plan)


def _outcomes(names: tuple[str, ...], rows: Iterable[SampleRow] | None) -> Outcomes | None:
    """Return what decides quality and length; the sample is read only if it knows one of the models."""
    if rows is not None:
        return Outcomes(rows)
    return None if {model.name for model in MODELS}.isdisjoint(names) else sample_outcomes()


def _of_model(values: Mapping[str, _Value], model: str) -> _Value | None:
    return values.get(model, values.get(ANY_MODEL))


async def _live(receive: Receive, send: Send) -> None:
    """Follow the server's lifespan; there is nothing to set up."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
