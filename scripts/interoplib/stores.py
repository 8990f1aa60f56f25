"""Engines that share a store: what one has computed is there for the other."""
import time

from interoplib.checks import Refused, Report, answer, ask, body, compare, own, pairs_of_one_length, prompts, said, together
from interoplib.processes import hits

SHORTEST, LONGEST = 257, 1000


def compute(engine, given):
    together(lambda prompt: ask(engine.port, {**body(prompt), "max_tokens": 1}), given)


def settled(store):
    """Waits until nothing has been stored for three seconds: engines answer before they have stored."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        now = store.count()
        if now != count:
            count, since = now, time.monotonic()
        time.sleep(0.5)


def through_store(report, name, options, store, unit, writer, reader, given):
    """unit: tokens that are stored in one piece."""
    compute(writer, given)
    settled(store)
    before = hits(reader.port)
    started = time.monotonic()
    got = together(lambda prompt: answer(reader.port, prompt)[0], given)
    seconds = time.monotonic() - started
    moved = hits(reader.port) - before
    with store.hidden():
        references = together(lambda prompt: own(reader, prompt), given)
    pairs = pairs_of_one_length(name, 3 * SHORTEST)
    controls = [first for first, _ in pairs]
    compute(writer, controls)
    settled(store)
    store.zero()
    wrong = together(lambda prompt: answer(reader.port, prompt)[0], controls)
    with store.hidden():
        rights = together(lambda prompt: own(reader, prompt), controls)
    report.direction(name, options, list(zip(got, references)), seconds, moved,
                     sum(len(prompt) // unit * unit for prompt in given), list(zip(wrong, rights)))


def both_ways(what, options, fleet, store, unit, other, ours, strange, start_stranger):
    """Both directions, then an instance whose blocks do not fit, then a store that dies."""
    report = Report(what)
    for seed, (name, writer, reader) in enumerate([("vLLM to Baton", other, ours), ("Baton to vLLM", ours, other)]):
        given = prompts(options.prompts, seed + 7, SHORTEST, LONGEST, [257, 300, 511, 513, 700, 769])
        through_store(report, name, options, store, unit, writer, reader, given)
    if not options.only_hand_overs:
        first, second, third = prompts(3, 11, 600, 700, [650])
        stranger = fleet.add(start_stranger())
        fleet.up()
        compute(other, [first])
        settled(store)
        alone(report, f"{strange}: Baton asks for what vLLM stored", stranger, first, "nothing of it fits")
        compute(other, [second])
        compute(ours, [third])
        settled(store)
        store.kill()
        alone(report, f"{store.name} killed, Baton asks for what vLLM stored", ours, second)
        alone(report, f"{store.name} killed, vLLM asks for what Baton stored", other, third)
    report.nothing_left(ours, other)
    return report


def alone(report, what, reader, prompt, otherwise="no line in its log", port=None, log=None):
    """A prompt of which nothing can be loaded: it is computed, and the log says why if something is wrong. Only vLLM may refuse it.

    port, log: of a router before the reader, if it is asked, or to be heard."""
    before, started = hits(reader.port), time.monotonic()
    log = log or reader.log
    since = log.stat().st_size
    try:
        tokens = answer(port or reader.port, prompt)[0]
    except Refused as e:
        report.event(what, reader.name == "vLLM", f"refused, {time.monotonic() - started:.1f} s: {e}")
        return
    seconds, moved = time.monotonic() - started, hits(reader.port) - before
    found = compare(tokens, own(reader, prompt), 0.05)
    line = said(log, r"\b(?:WARN|WARNING|ERROR)\b", since)
    report.event(what, found != "different" and moved == 0,
                 f"{found} tokens as alone, {moved:.0f} loaded, {seconds:.1f} s: {line if line != 'nothing' else otherwise}")
