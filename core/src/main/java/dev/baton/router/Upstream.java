package dev.baton.router;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.HttpException;
import dev.baton.router.policy.EngineLoad;
import dev.baton.router.policy.EngineView;
import java.net.URI;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One engine as the router sees it: address, state, and the legs in flight on it. Thread-safe.
final class Upstream implements EngineView {
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

    private final int index;
    private final Map<String, URI> uris = new ConcurrentHashMap<>();
    private final Set<Leg> legs = ConcurrentHashMap.newKeySet();
    private final AtomicInteger inFlight = new AtomicInteger();
    private final LongAdder requests = new LongAdder();
    private final LongAdder failures = new LongAdder();
    private final Duration startGrace;
    private final Consumer<Upstream> probeNow;
    private final long startNanos = System.nanoTime();
    private volatile EngineInfo info;
    private volatile EngineLoad load = EngineLoad.UNKNOWN;
    private volatile boolean draining;
    private volatile State state = State.UP;
    /// What the log said last; nothing yet while it is empty.
    private volatile Optional<State> told = Optional.empty();
    private volatile int probeFailures;
    private volatile boolean handsNothingOff;

    /// @param index running number among the engines of its role, from 0
    /// @param startGrace how long it may take until it is up at first without a word in the log
    /// @param probeNow asks for a probe out of turn
    Upstream(EngineInfo info, int index, Duration startGrace, Consumer<Upstream> probeNow) {
        this.info = info;
        this.index = index;
        this.startGrace = startGrace;
        this.probeNow = probeNow;
    }

    /// What is known of it.
    EngineInfo info() {
        return info;
    }

    /// It has been described anew.
    void describe(EngineInfo changed) {
        info = changed;
    }

    @Override
    public EngineAddress address() {
        return info.address();
    }

    @Override
    public EngineRole role() {
        return info.role();
    }

    @Override
    public double weight() {
        return info.weight();
    }

    @Override
    public EngineLoad load() {
        return load;
    }

    /// It said how busy it is.
    void loaded(EngineLoad said) {
        load = said;
    }

    /// Whether it gets no new requests, while those in flight go on.
    boolean draining() {
        return draining;
    }

    void setDraining(boolean value) {
        draining = value;
    }

    int index() {
        return index;
    }

    State state() {
        return state;
    }

    /// Whether it has answered and is up since. [State#UP] alone is also what is believed before the first probe.
    boolean isSeenUp() {
        return state == State.UP && told.equals(Optional.of(State.UP));
    }

    @Override
    public int inFlight() {
        return inFlight.get();
    }

    long requests() {
        return requests.sum();
    }

    long failures() {
        return failures.sum();
    }

    URI uri(String path) {
        return uris.computeIfAbsent(path, address()::uri);
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
        move(State.UP, "its health probe succeeded");
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
        state = next;
        tell(next, why);
    }

    /// Engines start along with the router: until the first of them answers, or the grace is over, that one is down
    /// is no news.
    private void tell(State next, String why) {
        Optional<State> before = told;
        boolean starting = before.isEmpty() && System.nanoTime() - startNanos < startGrace.toNanos();
        if (before.equals(Optional.of(next)) || (starting && next != State.UP)) {
            return;
        }
        told = Optional.of(next);
        String was = before.map(state -> ", was " + state).orElse("");
        if (next == State.UP) {
            LOG.info("{} is {}{}: {}", this, next, was, why);
        } else {
            LOG.warn("{} is {}{}: {}", this, next, was, why);
        }
    }

    @Override
    public String toString() {
        return role().word() + " " + address();
    }
}
