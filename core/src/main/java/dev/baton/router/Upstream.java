package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import dev.baton.http.HttpException;
import java.net.URI;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One engine as the router sees it: address, state, and the legs in flight on it. Thread-safe.
final class Upstream {
    private static final Logger LOG = LoggerFactory.getLogger(Upstream.class);

    /// What is believed of an engine.
    enum State {
        /// It answers.
        UP,
        /// A request broke on it and a probe is under way; chosen only where nothing is up.
        SUSPECT,
        /// It refuses connections or fails its probes; chosen again after a probe succeeds.
        DOWN
    }

    private final EngineAddress address;
    private final EngineRole role;
    private final int index;
    private final Map<String, URI> uris = new ConcurrentHashMap<>();
    private final Set<Leg> legs = ConcurrentHashMap.newKeySet();
    private final AtomicInteger inFlight = new AtomicInteger();
    private final LongAdder requests = new LongAdder();
    private final LongAdder failures = new LongAdder();
    private final Consumer<Upstream> probeNow;
    private volatile State state = State.UP;
    private volatile int probeFailures;
    private volatile boolean handsNothingOff;

    /// @param index place in the list of its role, from 0
    /// @param probeNow asks for a probe out of turn
    Upstream(EngineAddress address, EngineRole role, int index, Consumer<Upstream> probeNow) {
        this.address = address;
        this.role = role;
        this.index = index;
        this.probeNow = probeNow;
    }

    EngineAddress address() {
        return address;
    }

    EngineRole role() {
        return role;
    }

    int index() {
        return index;
    }

    State state() {
        return state;
    }

    int inFlight() {
        return inFlight.get();
    }

    long requests() {
        return requests.sum();
    }

    long failures() {
        return failures.sum();
    }

    URI uri(String path) {
        return uris.computeIfAbsent(path, address::uri);
    }

    void legStarted(Leg leg) {
        legs.add(leg);
        inFlight.incrementAndGet();
        requests.increment();
    }

    void legEnded(Leg leg) {
        if (legs.remove(leg)) {
            inFlight.decrementAndGet();
        }
    }

    /// A leg got an answer.
    void succeeded() {
        if (state == State.SUSPECT) {
            move(State.UP, "a request succeeded");
        }
    }

    /// A leg could not connect: nobody listens there.
    void refused(HttpException failure) {
        failures.increment();
        move(State.DOWN, String.valueOf(failure.getMessage()));
    }

    /// A leg broke: perhaps only that request, perhaps the engine. A probe will tell.
    void broke(HttpException failure) {
        broke(String.valueOf(failure.getMessage()));
    }

    /// The same, for an answer that says so.
    void broke(String why) {
        failures.increment();
        if (state == State.UP) {
            move(State.SUSPECT, why);
            probeNow.accept(this);
        }
    }

    /// A prefill's answer said where its KV cache is.
    void handedOff() {
        if (handsNothingOff) {
            handsNothingOff = false;
            LOG.info("{} hands its KV cache off again", this);
        }
    }

    /// It did not: the decoder prefills again. Said once until it changes.
    void handedNothingOff(String why) {
        if (!handsNothingOff) {
            handsNothingOff = true;
            LOG.warn("{} hands no KV cache off, decoders prefill again: {}", this, why);
        }
    }

    void probeSucceeded() {
        probeFailures = 0;
        if (state != State.UP) {
            move(State.UP, "its health probe succeeded");
        }
    }

    /// @param certain whether this failure says enough alone (a refused connection, a 5xx), or only several in
    ///     a row do (deadlines: a busy machine answers late)
    /// @param enough number of uncertain failures in a row that say enough
    /// @param silence legs without a byte for so long end when the engine is taken for dead
    void probeFailed(boolean certain, int enough, Duration silence, String why) {
        int failed = probeFailures + 1;
        probeFailures = failed;
        if (certain || failed >= enough) {
            move(State.DOWN, why);
            for (Leg leg : legs) {
                leg.loseIfSilent(silence);
            }
        }
    }

    private void move(State next, String why) {
        State before = state;
        if (before != next) {
            state = next;
            if (next == State.UP) {
                LOG.info("{} {} is {}, was {}: {}", role.word(), address, next, before, why);
            } else {
                LOG.warn("{} {} is {}, was {}: {}", role.word(), address, next, before, why);
            }
        }
    }

    @Override
    public String toString() {
        return role.word() + " " + address;
    }
}
