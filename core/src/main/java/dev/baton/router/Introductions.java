package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.http.HttpClient;
import dev.baton.http.HttpClientRequest;
import dev.baton.http.HttpClientResponse;
import dev.baton.http.Json;
import dev.baton.http.WholeResponse;
import dev.baton.router.backend.Baton;
import dev.baton.router.backend.Nixl;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import tools.jackson.databind.JsonNode;

/// Tells decoders of prefillers as soon as both are known, so that they are connected before the first request.
///
/// A Baton says in its answers to probes where its connector listens; what it says is passed on, with the host put
/// right as in its answers to requests. What it says names its start, so that one that was started again is
/// introduced again. Engines that say nothing are left alone, also if another one said something at their
/// address before. Whether it pushes is noted of each. Thread-safe.
final class Introductions {
    private static final Logger LOG = LoggerFactory.getLogger(Introductions.class);
    private static final String HEADER = "x-kv-peer";
    private static final String PATH = "/kv_peers";
    private static final int MAX_TEXT = 2_048;
    private static final int MAX_ANSWER_BYTES = 4_096;
    private static final int OK = 200;

    private final HttpClient client;
    private final Optional<String> engineKey;
    private final Duration deadline;
    private final Map<EngineAddress, Said> said = new HashMap<>(); // guarded by this

    /// What an engine says of itself, and what others are told of that.
    private record Said(String text, String told, boolean pushes) {}

    /// @param engineKey that engines are shown
    /// @param deadline for an engine to take note
    Introductions(HttpClient client, Optional<String> engineKey, Duration deadline) {
        this.client = client;
        this.engineKey = engineKey;
        this.deadline = deadline;
    }

    /// An engine has answered a probe.
    ///
    /// @param others the engines that there are, and this one among them if it has not left
    /// @param warmUp told of pairs, if there is one
    void answered(Upstream engine, HttpClientResponse answer, List<Upstream> others, Optional<PairWarmUp> warmUp) {
        if (!others.contains(engine)) {
            return; // it has left, and is probed while requests are in flight there
        }
        Optional<String> text = answer.headers().first(HEADER).filter(header -> header.length() <= MAX_TEXT);
        if (text.isEmpty()) {
            if (answer.status() == 200) { // a gateway's answer says nothing of the engine
                saidNothing(engine, warmUp);
            }
            return;
        }
        Said says;
        Map<EngineAddress, Said> known;
        synchronized (this) {
            Said before = said.get(engine.address());
            if (before != null && before.text.equals(text.get())) {
                engine.pushes(before.pushes);
                return;
            }
            if (before != null) { // it was started anew
                engine.forgetEndpoint();
                warmUp.ifPresent(pairs -> pairs.forget(engine));
            }
            says = new Said(text.get(), reachable(text.get(), engine.address()), pushes(text.get()));
            engine.pushes(says.pushes);
            said.put(engine.address(), says);
            known = Map.copyOf(said);
        }
        for (Upstream other : others) {
            Said theirs = known.get(other.address());
            if (theirs == null || other.address().equals(engine.address())) {
                continue;
            }
            if (engine.info().role().prefills() && other.info().role().decodes()) {
                tell(engine, says.told, other, warmUp);
            }
            if (other.info().role().prefills() && engine.info().role().decodes()) {
                tell(other, theirs.told, engine, warmUp);
            }
        }
    }

    /// It is none that is introduced to others, whatever was there before.
    private synchronized void saidNothing(Upstream engine, Optional<PairWarmUp> warmUp) {
        engine.pushes(false);
        if (said.remove(engine.address()) != null) {
            engine.forgetEndpoint();
            LOG.info("{} says no more where its KV connector listens: it is of another kind than before", engine);
            warmUp.ifPresent(pairs -> pairs.forget(engine));
        }
    }

    private static boolean pushes(String says) {
        try {
            return Json.parse(says.getBytes(StandardCharsets.UTF_8))
                    .path(Baton.PUSHES)
                    .asBoolean(false);
        } catch (Json.MalformedException e) {
            return false;
        }
    }

    /// What others are told: a decoder elsewhere would look for `127.0.0.1` at home.
    ///
    /// @param says what an engine says of itself
    /// @param address where the router reaches it
    static String reachable(String says, EngineAddress address) {
        try {
            JsonNode peer = Json.parse(says.getBytes(StandardCharsets.UTF_8));
            return Nixl.reachable(Optional.of(peer), address.host())
                    .filter(told -> !told.equals(peer))
                    .map(told -> new String(Json.bytes(told), StandardCharsets.UTF_8))
                    .orElse(says);
        } catch (Json.MalformedException e) {
            return says; // the decoder will say so
        }
    }

    /// An engine has left.
    synchronized void gone(Upstream engine) {
        said.remove(engine.address());
    }

    /// @param says what the prefiller says of itself
    private void tell(Upstream prefiller, String says, Upstream decoder, Optional<PairWarmUp> warmUp) {
        Optional<PairWarmUp.Pair> pair = warmUp.flatMap(pairs -> pairs.announce(prefiller, decoder));
        HttpClientRequest request =
                HttpClientRequest.postJson(decoder.uri(PATH), says.getBytes(StandardCharsets.UTF_8), deadline);
        HttpClientRequest shown = engineKey
                .map(key -> request.withHeader("authorization", "Bearer " + key))
                .orElse(request);
        client.send(
                shown,
                new WholeResponse(
                        MAX_ANSWER_BYTES,
                        answer -> {
                            LOG.debug("{} told of {}: {}", decoder, says, answer.status());
                            end(warmUp, pair, answer.status() == OK);
                        },
                        failure -> {
                            LOG.debug("{} not told of {}: {}", decoder, says, failure.getMessage());
                            end(warmUp, pair, false);
                        }));
    }

    private static void end(Optional<PairWarmUp> warmUp, Optional<PairWarmUp.Pair> pair, boolean isIntroduced) {
        if (warmUp.isPresent() && pair.isPresent()) {
            if (isIntroduced) {
                warmUp.get().begin(pair.get());
            } else {
                warmUp.get().drop(pair.get());
            }
        }
    }
}
