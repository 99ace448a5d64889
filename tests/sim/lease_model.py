"""The lease protocol as a small finite model, and a breadth-first search through every state that it can reach.

One lease row, two workers, a network that delays, reorders and loses requests and replies, ticks of time. The rules
are those of the design's decision table: renew, take and checkpoint conditional on `leaseCounter`; an unknown outcome
settled by a consistent read (mine and c+1: applied, credited from the earliest unresolved send; mine and c: not yet;
else lost); validity counted from the send of a write known to be applied. `Rules` can break each, one at a time.

The model is finite without a limit on time: counters are kept relative to the row's (0 equal, -1 one behind, down to
-3 for all that is further), epochs as current or stale, ages up to just past the lease duration. Checked in each state:

* I4a: a checkpoint is applied only in the ownership epoch it was sent in.
* I4b: the stored checkpoint never decreases.
* I11: no worker believes in a lease that another worker has taken by expiry.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDS = 2
BEHIND_MAX = -3
IN_FLIGHT_MAX = 2
NOBODY = 2

IDLE, TAKING, HOLDING = range(3)
NONE, SENT, APPLIED, FAILED, UNKNOWN = range(5)
RENEW, CHECKPOINT, TAKE = range(3)
KINDS = ("renew", "checkpoint", "take")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the protocol decides; the defaults are the design's, everything else is a planted bug.

    `duration`: ticks that a lease lasts. `not_backwards`: the checkpoint's condition also demands a higher value.
    `restarts`: workers also crash and come back under the same name. `learned`: after a restart the credit counts from
    the read that gave the counter, not from the send (another process's late write may be the one that moved it).
    `assigns`: a leader also assigns, conditional on the owner as read.
    """

    checkpoint_on: str = "counter"
    take_on: str = "counter"
    credit: str = "send"
    not_backwards: bool = False
    duration: int = 1
    restarts: bool = False
    learned: bool = True
    assigns: bool = False


KNOWN_BROKEN: dict[str, tuple[Rules, str]] = {
    "checkpoint on owner only": (Rules(checkpoint_on="owner", not_backwards=True), "I4a"),
    "checkpoint on owner and epoch": (Rules(checkpoint_on="owner and epoch"), "I4b"),
    "validity credited at the reply": (Rules(credit="reply"), "I11"),
    "validity credited on a re-read": (Rules(credit="re-read"), "I11"),
    "take without the counter": (Rules(take_on="owner"), "I11"),
    "restart credited from its own send": (Rules(restarts=True, learned=False), "I11"),
}
SOUND: dict[str, Rules] = {
    "the design's rules": Rules(),
    "restarts under the same name": Rules(restarts=True),
    "a leader assigns": Rules(assigns=True),
}


class Worker(NamedTuple):
    """One worker: what it believes, its one outstanding request, and what it watches as a taker."""

    mode: int = IDLE
    counter: int = BEHIND_MAX
    stale: bool = True
    """Ghost: its tenure is not the row's present ownership epoch."""
    position: int = 0
    stored: int = 0
    valid: int = 0
    reply: int = NONE
    replied: int = 0
    """The checkpoint that the reply carries."""
    sent_age: int = 0
    unresolved_age: int = -1
    seen: int = -1
    seen_age: int = 0


class Request(NamedTuple):
    """A request on its way to the table; `awaited` while its sender still waits for the reply."""

    worker: int
    kind: int
    counter: int
    owner: int
    value: int
    stale: bool
    awaited: bool


class State(NamedTuple):
    """One state of the model."""

    owner: int
    checkpoint: int
    workers: tuple[Worker, Worker]
    requests: tuple[Request, ...]


Step: TypeAlias = "tuple[str, State | str]"


class Violation(NamedTuple):
    """A broken invariant and the steps that lead there."""

    invariant: str
    steps: tuple[str, ...]


class Result(NamedTuple):
    """What the search found: `states` reached, and the first violation or None."""

    states: int
    violation: Violation | None


def explore(rules: Rules, states_max: int = 5_000_000) -> Result:
    """Visit every reachable state, nearest first, until an invariant breaks or none is left."""
    start = State(0, 0, (Worker(HOLDING, 0, stale=False, valid=rules.duration), Worker(seen=0)), ())
    came: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        for label, reached in successors(state, rules):
            if isinstance(reached, str):
                return Result(len(came), Violation(reached, (*_path(came, state), label)))
            following = _canonical(reached, rules)
            if following not in came:
                came[following] = (state, label)
                queue.append(following)
                if len(came) > states_max:
                    raise RuntimeError(f"more than {states_max} states")
    return Result(len(came), None)


def _path(came: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps: list[str] = []
    at = came[state]
    while at is not None:
        steps.append(at[1])
        at = came[at[0]]
    return steps[::-1]


def _canonical(state: State, rules: Rules) -> State:
    """Forget what can make no difference any more, so that equal situations are one state."""
    first, second = (
        Worker(seen=worker.seen, seen_age=worker.seen_age if worker.seen == 0 else 0)
        if worker.mode == IDLE
        else worker._replace(seen=-1, seen_age=0)
        for worker in state.workers
    )
    requests = state.requests
    if rules.checkpoint_on == rules.take_on == "counter":  # Nobody waits for it and it can never apply.
        requests = tuple(request for request in requests if request.awaited or request.counter == 0)
    return state._replace(workers=(first, second), requests=requests)


def successors(state: State, rules: Rules) -> Iterator[Step]:
    """Yield every step from `state`: its label, and the next state or the invariant that it breaks."""
    yield "tick", _tick(state, rules.duration)
    for index, request in enumerate(state.requests):
        rest = state.requests[:index] + state.requests[index + 1 :]
        label = f"{'AB'[request.worker]}'s {KINDS[request.kind]} arrives"
        yield label, _apply(state._replace(requests=rest), request, rules)
    for index, worker in enumerate(state.workers):
        for label, following in _worker_steps(state, index, worker, rules):
            yield f"{'AB'[index]} {label}", following
    if rules.assigns:
        for index in (0, 1):
            if state.owner != index:
                yield f"the leader assigns to {'AB'[index]}", _moved(state, index, assigned=True)


def _tick(state: State, duration: int) -> State:
    workers = tuple(
        worker._replace(
            valid=max(0, worker.valid - 1),
            sent_age=min(duration, worker.sent_age + 1) if worker.reply else 0,
            unresolved_age=min(duration, worker.unresolved_age + 1) if worker.unresolved_age >= 0 else -1,
            seen_age=min(duration + 1, worker.seen_age + 1) if worker.mode == IDLE else 0,
        )
        for worker in state.workers
    )
    return state._replace(workers=(workers[0], workers[1]))


def _with(state: State, index: int, worker: Worker, *requests: Request) -> State:
    workers = (worker, state.workers[1]) if index == 0 else (state.workers[0], worker)
    return state._replace(workers=workers, requests=tuple(sorted((*state.requests, *requests))))


def _bumped(state: State) -> State:
    """Move the row's counter on by one: everybody is one further behind."""
    first, second = (
        worker._replace(counter=max(BEHIND_MAX, worker.counter - 1), seen=max(-1, worker.seen - 1))
        for worker in state.workers
    )
    requests = tuple(sorted(request._replace(counter=max(-1, request.counter - 1)) for request in state.requests))
    return state._replace(workers=(first, second), requests=requests)


def _moved(state: State, owner: int, *, assigned: bool = False) -> State | str:
    """Give the row a new owner and epoch; I11 is broken if the other one still believes (a steal is excused)."""
    other = state.workers[1 - owner]
    if other.mode == HOLDING and other.valid > 0 and not assigned:
        return "I11"
    state = _bumped(state)
    first, second = (
        worker._replace(stale=index != owner or worker.mode == HOLDING, valid=0 if assigned else worker.valid)
        for index, worker in enumerate(state.workers)
    )
    requests = tuple(sorted(request._replace(stale=True) for request in state.requests))
    return state._replace(owner=owner, workers=(first, second), requests=requests)


def _holds(state: State, request: Request, rules: Rules) -> bool:
    """Judge the request's condition on the row."""
    if request.kind == TAKE and rules.take_on == "owner":
        return request.owner == state.owner
    if request.kind == CHECKPOINT and rules.not_backwards and request.value < state.checkpoint:
        return False
    if request.kind == CHECKPOINT and rules.checkpoint_on != "counter":
        return state.owner == request.worker and not (rules.checkpoint_on == "owner and epoch" and request.stale)
    return request.counter == 0


def _apply(state: State, request: Request, rules: Rules) -> State | str:
    """Carry out one request in the table; its reply is ready if somebody still waits for it."""
    applied = _holds(state, request, rules)
    if applied and request.kind == CHECKPOINT:
        if request.stale:
            return "I4a"
        if request.value < state.checkpoint:
            return "I4b"
        state = state._replace(checkpoint=request.value)
    if applied:
        following = _moved(state, request.worker) if request.kind == TAKE else _bumped(state)
        if isinstance(following, str):
            return following
        state = following
    if not request.awaited:
        return state
    worker = state.workers[request.worker]._replace(reply=APPLIED if applied else FAILED, replied=state.checkpoint)
    return _with(state, request.worker, worker)


def _worker_steps(state: State, index: int, worker: Worker, rules: Rules) -> Iterator[Step]:
    if worker.reply == SENT:
        yield "gives up waiting", _given_up(state, index, worker)
    elif worker.reply == APPLIED:
        yield "hears that it was applied", _with(state, index, _credited(worker, rules))
        yield "never hears", _with(state, index, worker._replace(reply=UNKNOWN))
    elif worker.reply in {FAILED, UNKNOWN}:
        yield "reads the row", _with(state, index, _settled(state, index, worker, rules))
    elif worker.mode == HOLDING:
        yield from _holder_steps(state, index, worker)
    else:
        yield from _taker_steps(state, index, worker, rules.duration)
    if rules.restarts and worker.mode != IDLE:
        yield "restarts", _restarted(state, index, rules)


def _given_up(state: State, index: int, worker: Worker) -> State:
    requests = tuple(sorted(r._replace(awaited=r.awaited and r.worker != index) for r in state.requests))
    return _with(state._replace(requests=requests), index, worker._replace(reply=UNKNOWN))


def _restarted(state: State, index: int, rules: Rules) -> State:
    """Start a new process under the old name: it reads the row, and adopts it at once where it is the owner."""
    requests = tuple(sorted(r._replace(awaited=r.awaited and r.worker != index) for r in state.requests))
    worker = Worker(seen=0)
    if state.owner == index:
        worker = Worker(HOLDING, 0, stale=False, position=state.checkpoint, stored=state.checkpoint)
        worker = worker._replace(unresolved_age=0)  # Counts from the read that gave the counter; see Rules.learned.
    if not rules.learned:
        worker = worker._replace(unresolved_age=-1)
    return _with(state._replace(requests=requests), index, worker)


def _credited(worker: Worker, rules: Rules) -> Worker:
    """Credit the lease from that request's send: the reply says applied."""
    valid = rules.duration if rules.credit == "reply" else max(0, rules.duration - worker.sent_age)
    position = worker.replied if worker.mode == TAKING else worker.position
    return worker._replace(
        mode=HOLDING,
        counter=min(0, worker.counter + 1),
        position=position,
        stored=worker.replied,
        valid=max(valid, worker.valid),
        reply=NONE,
        replied=0,
        sent_age=0,
        unresolved_age=-1,
    )


def _settled(state: State, index: int, worker: Worker, rules: Rules) -> Worker:
    """Decide by a consistent read what became of the unresolved requests."""
    cleared = worker._replace(reply=NONE, replied=0, sent_age=0)
    if state.owner == index and worker.counter == -1:
        valid = rules.duration if rules.credit == "re-read" else max(0, rules.duration - worker.unresolved_age)
        position = state.checkpoint if worker.mode == TAKING else worker.position
        return cleared._replace(
            mode=HOLDING,
            counter=0,
            position=position,
            stored=state.checkpoint,
            valid=max(valid, worker.valid),
            unresolved_age=-1,
        )
    if worker.counter == 0 and (state.owner == index) == (worker.mode == HOLDING):
        return cleared  # Not yet.
    return Worker(stale=worker.stale, seen=0)


def _holder_steps(state: State, index: int, worker: Worker) -> Iterator[Step]:
    if worker.valid > 0 and worker.position < RECORDS:
        yield "delivers", _with(state, index, worker._replace(position=worker.position + 1))
    if worker.valid == 0:
        yield "lets the lease go", _with(state, index, Worker(stale=worker.stale, seen=-1))
    yield from _send(state, index, worker, RENEW, 0)
    if worker.position > worker.stored:
        yield from _send(state, index, worker, CHECKPOINT, worker.position)


def _taker_steps(state: State, index: int, worker: Worker, duration: int) -> Iterator[Step]:
    if worker.mode == TAKING:
        yield "abandons the take", _with(state, index, Worker(stale=worker.stale, seen=0))
    elif worker.seen != 0:
        yield "sees the row change", _with(state, index, worker._replace(seen=0, seen_age=0))
    if worker.mode == TAKING or (worker.seen_age == duration + 1 and state.owner != index):
        taking = (
            worker if worker.mode == TAKING else worker._replace(mode=TAKING, counter=worker.seen, unresolved_age=-1)
        )
        yield from _send(state, index, taking._replace(seen=-1, seen_age=0), TAKE, 0)


def _send(state: State, index: int, worker: Worker, kind: int, value: int) -> Iterator[Step]:
    if sum(request.worker == index for request in state.requests) >= IN_FLIGHT_MAX:
        return
    request = Request(index, kind, worker.counter, 1 - index, value, worker.stale, awaited=True)
    unresolved = max(worker.unresolved_age, 0)
    yield (
        f"sends {KINDS[kind]}" + (f" {value}" if kind == CHECKPOINT else ""),
        _with(state, index, worker._replace(reply=SENT, sent_age=0, unresolved_age=unresolved), request),
    )
