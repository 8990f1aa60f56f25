"""Engines that hand a prompt over: one computes it, the other goes on with its blocks."""
import dataclasses
import time

from interoplib import processes
from interoplib.checks import Refused, Report, answer, compare, own, pairs_of_one_length, prompts, said, together
from interoplib.processes import hits

LOAD_FAILED = "its KV blocks could not be loaded"  # what a Baton says that computes the prompt then


def decode(engine, prompt, params):
    return answer(engine.port, prompt, kv_transfer_params=params)[0]


@dataclasses.dataclass
class HandOver:
    """One connector.

    prefill(engine, prompt) has a prompt computed and gives the decoder's kv_transfer_params. strange: what is wrong with the Baton
    that start_stranger starts, and complaint how vLLM's log begins to say so. start_mortal starts a Baton that will be killed.
    routed(prefiller, decoder), if there is one, starts a router and gives its process and port."""
    what: str
    prefill: object
    strange: str
    complaint: str
    start_stranger: object
    start_mortal: object
    routed: object = None


def both_directions(options, fleet, way, other, ours):
    """Both directions, then a Baton that does not match, and prefillers that are killed."""
    report = Report(way.what)
    for seed, (name, prefiller, decoder) in enumerate([("vLLM to Baton", other, ours), ("Baton to vLLM", ours, other)]):
        given = prompts(options.prompts, seed + 7, 2, 700, [2, 16, 127, 128, 129, 256, 700])
        if way.routed:
            router, port = way.routed(prefiller, decoder)
            try:
                direction(report, f"{name}, through `baton router`", options, way, prefiller, decoder, given,
                          lambda prompt: answer(port, prompt)[0])
            finally:
                processes.end([router])
        else:
            direction(report, name, options, way, prefiller, decoder, given,
                      lambda prompt: decode(decoder, prompt, way.prefill(prefiller, prompt)))
    if not options.only_hand_overs:
        failures(report, fleet, way, other, ours)
    report.nothing_left(ours, other)
    return report


def direction(report, name, options, way, prefiller, decoder, given, hand_over):
    before, started = hits(decoder.port), time.monotonic()
    got = together(hand_over, given)
    seconds, moved = time.monotonic() - started, hits(decoder.port) - before
    references = together(lambda prompt: own(decoder, prompt), given)

    def of_another(pair):
        prompt, other = pair
        params = way.prefill(prefiller, other)
        params.pop("remote_prompt_digest", None)  # by which Baton would find it
        return decode(decoder, prompt, params), own(decoder, prompt)

    controls = together(of_another, pairs_of_one_length(name, 200))
    report.direction(name, options, list(zip(got, references)), seconds, moved, sum(map(len, given)), controls)


def failures(report, fleet, way, other, ours):
    first, second, third, fourth = prompts(4, 11, 300, 400, [300])

    def handed(prefiller, decoder, is_killed=False):
        def work(prompt):
            params = way.prefill(prefiller, prompt)
            if is_killed:
                processes.kill(prefiller.process)
            return decode(decoder, prompt, params)
        return work

    stranger = fleet.add(way.start_stranger())
    fleet.up()
    fails_over(report, f"{way.strange}, vLLM to Baton", stranger, first, handed(other, stranger))
    fails_over(report, f"{way.strange}, Baton to vLLM", other, second, handed(stranger, other), way.complaint)
    processes.end([stranger.process])
    mortal = fleet.add(way.start_mortal())
    fleet.up()
    fails_over(report, "Baton killed after its prefill, vLLM decodes", other, third, handed(mortal, other, is_killed=True))
    report.nothing_left(other)
    fails_over(report, "vLLM killed after its prefill, Baton decodes", ours, fourth, handed(other, ours, is_killed=True))


def fails_over(report, what, decoder, prompt, hand_over, complaint=r"Failing \d+ request"):
    """The decoder refuses a prompt whose blocks cannot come, or computes it and gives its own tokens; it says why in its log."""
    started, since = time.monotonic(), decoder.log.stat().st_size
    try:
        tokens = hand_over(prompt)
        seconds = time.monotonic() - started
        found = compare(tokens, own(decoder, prompt), 0.05)
        outcome, sentence = f"{found} tokens as alone", said(decoder.log, LOAD_FAILED, since)
    except Refused as e:
        seconds = time.monotonic() - started
        found, outcome, sentence = "refused", f"refused ({e})", said(decoder.log, complaint, since)
    report.event(what, found != "different" and sentence != "nothing", f"{outcome}, {seconds:.1f} s: {sentence}")
