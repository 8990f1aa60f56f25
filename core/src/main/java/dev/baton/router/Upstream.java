package dev.baton.router;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.http.HttpException;
import dev.baton.router.policy.EngineLoad;
import dev.baton.router.policy.EngineView;
import java.net.URI;
import java.time.Duration;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// One engine as the router sees it: address, state, and the legs in flight on it. Thread-safe; requests of several
/// event loops, probes and reads of its metrics meet here.
final class Upstream implements EngineView {
    private static final Logger LOG = LoggerFactory.getLogger(Upstream.class);

    /// What a weight begins with that rises: not nothing, so that an engine that is alone is not left out.
    private static final double FIRST_SHARE = 0.1;

    /// How long an engine that is down is probed more often than one that is up.
    private static final long SOON_BACK_NANOS = Duration.ofMinutes(1).toNanos();

    private static final long LONG_AGO_NANOS = Duration.ofHours(1).toNanos();

    /// Streams that have to be silent all at once before that means something where nothing else is known: one
    /// alone may hold its tokens back, as in a tool call, and has its own deadline.
    private static final int ENOUGH_SILENT_STREAMS = 2;

    /// Missed probes in a row after which it is in doubt.
    private static final int ENOUGH_FOR_DOUBT = 2;

    /// What is believed of an engine.
    enum State {
        /// Nothing was heard of it yet. Requests may go there: a refused connection costs a millisecond.
        UNKNOWN,
        /// It answers.
        UP,
        /// A request broke on it and a probe is under way, or it misses probes; chosen only where nothing is up.
        SUSPECT,
        /// It refuses connections, fails its probes or computes nothing; chosen again after a probe succeeds.
        DOWN
    }

    /// How a probe failed.
    enum Miss {
        /// Nobody listens there.
        REFUSED,
        /// It says itself that it is not well.
        UNWELL,
        /// No answer in time: on a busy machine one late answer means nothing, several in a row do.
        LATE
    }

    /// Who is told of what happens to engines. Called from any thread.
    interface Watcher {
        /// A probe out of turn is needed.
        void probeNow(Upstream engine);

        /// It is another process than before, or lost what it held.
        void cameBackEmpty(Upstream engine);
    }

    private final Map<String, URI> uris = new ConcurrentHashMap<>();
    private final Set<Leg> legs = ConcurrentHashMap.newKeySet();
    private final AtomicInteger inFlight = new AtomicInteger();
    private final AtomicInteger reserved = new AtomicInteger();
    private final LongAdder requests = new LongAdder();
    private final LongAdder failures = new LongAdder();
    private final LongAdder hangs = new LongAdder();
    private final Duration slowStart;
    private final Watcher watcher;
    private final CircuitBreaker circuit;
    private final ProgressWatch progress;
    private final long startNanos = System.nanoTime();
    private final AtomicReference<Optional<Runnable>> whenDrained = new AtomicReference<>(Optional.empty());
    private volatile int prefillerIndex = -1;
    private volatile int decoderIndex = -1;
    private volatile EngineInfo info;
    private volatile Optional<ConnectorEndpoint> endpoint = Optional.empty();
    private volatile boolean pushes;
    private volatile EngineLoad load = EngineLoad.UNKNOWN;
    private volatile EngineSample sample = EngineSample.NONE;
    private volatile boolean streamsWithoutComments;
    private volatile boolean draining;
    private volatile State state = State.UNKNOWN;
    private volatile String why = "not probed yet";
    private volatile long stateNanos = startNanos;
    private volatile boolean wasUp;
    private volatile int probeFailures;
    private volatile long probeNanos = startNanos - LONG_AGO_NANOS;
    private volatile long answerNanos = startNanos - LONG_AGO_NANOS;
    private volatile boolean refusedBefore;
    private volatile boolean hung;
    private volatile boolean handsNothingOff;
    private volatile boolean rising;
    private volatile long risingNanos;

    Upstream(EngineInfo info, HealthConfig config, Watcher watcher) {
        this.info = info;
        this.slowStart = config.slowStart();
        this.watcher = watcher;
        circuit = new CircuitBreaker(config);
        progress = new ProgressWatch(config.hangTimeout(), startNanos);
    }

    /// What is known of it.
    EngineInfo info() {
        return info;
    }

    /// The same, with its connector's endpoint as its own answers say it.
    EngineInfo handOffInfo() {
        return endpoint.map(info::withEndpoint).orElse(info);
    }

    /// Whether its last answer to a probe said that it gives or takes prompts also while they are computed, as
    /// Batons over TCP do.
    boolean pushes() {
        return pushes;
    }

    void pushes(boolean said) {
        pushes = said;
    }

    /// One of its answers said where its connector listens.
    void listensAt(ConnectorEndpoint found) {
        endpoint = Optional.of(found);
    }

    /// What it said of its connector is no more so.
    void forgetEndpoint() {
        endpoint = Optional.empty();
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
        return info.weight() * share(System.nanoTime());
    }

    private double share(long now) {
        if (!rising) {
            return 1;
        }
        double share = (double) (now - risingNanos) / slowStart.toNanos();
        if (share >= 1) {
            rising = false;
            return 1;
        }
        return Math.max(FIRST_SHARE, share);
    }

    @Override
    public EngineLoad load() {
        return load;
    }

    /// Whether it gets no new requests, while those in flight go on.
    boolean draining() {
        return draining;
    }

    /// Takes it out of the choice, or back in.
    void setDraining(boolean value) {
        if (draining != value) {
            LOG.info("{} {}", this, value ? "gets no new requests" : "gets requests again");
        }
        draining = value;
        if (value) {
            tellIfDrained();
        }
    }

    /// Drains it; `then` runs once, on any thread, when nothing is in flight there or bound to it.
    void drain(Runnable then) {
        whenDrained.set(Optional.of(then));
        setDraining(true);
    }

    /// Whether it gets no new requests and has none.
    boolean drained() {
        return draining && !isInUse();
    }

    /// Whether a leg is in flight there, or a request is bound to it that may yet begin one or fetch from it.
    /// What is bound is looked at first: a request lets go of its place only after its leg has been counted.
    boolean isInUse() {
        return reserved.get() > 0 || inFlight.get() > 0;
    }

    /// A request has been bound to it: [#release()] follows, once.
    void reserve() {
        reserved.incrementAndGet();
    }

    /// A request is bound to it no more, but by its legs.
    void release() {
        reserved.decrementAndGet();
        if (draining) {
            tellIfDrained();
        }
    }

    /// Requests that are bound to it, whether or not a leg is in flight.
    int numReserved() {
        return reserved.get();
    }

    private void tellIfDrained() {
        if (drained()) {
            whenDrained.getAndSet(Optional.empty()).ifPresent(Runnable::run);
        }
    }

    /// Its number among the engines that prefill, from 0, in the TTFT statistics; -1 if it never did.
    int prefillerIndex() {
        return prefillerIndex;
    }

    void setPrefillerIndex(int number) {
        prefillerIndex = number;
    }

    /// The same among the engines that decode.
    int decoderIndex() {
        return decoderIndex;
    }

    void setDecoderIndex(int number) {
        decoderIndex = number;
    }

    State state() {
        return state;
    }

    /// Why it is in this state.
    String why() {
        return why;
    }

    /// Whether it computes nothing although it answers its probes.
    boolean hung() {
        return hung;
    }

    /// What it last said in its metrics.
    EngineSample sample() {
        return sample;
    }

    CircuitBreaker.State circuit() {
        return circuit.state();
    }

    /// Whether its circuit lets one more request through now.
    boolean admits(long nowNanos) {
        return circuit.admits(nowNanos);
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

    /// Times that it was taken as hung.
    long hangs() {
        return hangs.sum();
    }

    URI uri(String path) {
        return uris.computeIfAbsent(path, address()::uri);
    }

    void legStarted(Leg leg) {
        circuit.started(leg);
        legs.add(leg);
        inFlight.incrementAndGet();
        requests.increment();
    }

    void legEnded(Leg leg) {
        if (legs.remove(leg)) {
            circuit.ended(leg);
            inFlight.decrementAndGet();
            if (draining) {
                tellIfDrained();
            }
        }
    }

    /// A leg got an answer.
    void succeeded() {
        long now = System.nanoTime();
        answerNanos = now;
        if (circuit.succeeded(now)) {
            rise(now);
            LOG.info("{}: its circuit is closed, a request succeeded", this);
        }
        if (state == State.SUSPECT || state == State.UNKNOWN) {
            if (!wasUp) {
                rise(now);
            }
            moveFrom(EnumSet.of(State.SUSPECT, State.UNKNOWN), State.UP, "a request succeeded");
        }
    }

    /// A leg could not connect. Where the host says so, nobody listens there; where nothing came back, or its name
    /// was not found, a probe will tell.
    void refused(HttpException failure) {
        if (failure.isUnanswered()) {
            broke(failure);
            return;
        }
        failures.increment();
        refusedBefore = true;
        move(State.DOWN, String.valueOf(failure.getMessage()));
    }

    /// A leg broke: perhaps only that request, perhaps the engine. A probe will tell.
    void broke(HttpException failure) {
        broke(String.valueOf(failure.getMessage()));
    }

    /// The same, for an answer that says so.
    void broke(String cause) {
        failures.increment();
        if (circuit.failed(System.nanoTime())) {
            LOG.warn("{}: its circuit is open, too many requests fail there: {}", this, cause);
        }
        if (moveFrom(EnumSet.of(State.UP, State.UNKNOWN), State.SUSPECT, cause)) {
            watcher.probeNow(this);
        }
    }

    /// It has begun a stream.
    ///
    /// @param tellsTokens whether with comments for the router
    void streams(boolean tellsTokens) {
        streamsWithoutComments = !tellsTokens;
    }

    /// Whether its last stream had no comments for the router: it has to be asked in another way for its tokens.
    boolean streamsWithoutComments() {
        return streamsWithoutComments;
    }

    /// A prefill's answer said where its KV cache is.
    void handedOff() {
        if (handsNothingOff) {
            handsNothingOff = false;
            LOG.info("{} hands its KV cache off again", this);
        }
    }

    /// It did not: the decoder prefills again. Said once until it changes.
    void handedNothingOff(String cause) {
        if (!handsNothingOff) {
            handsNothingOff = true;
            LOG.warn("{} hands no KV cache off, decoders prefill again: {}", this, cause);
        }
    }

    /// Whether the next probe may go out.
    ///
    /// @param interval while it is up, or down for long
    /// @param soon while it is in doubt, or may be back soon
    boolean isProbeDue(long now, Duration interval, Duration soon) {
        boolean changing = state == State.SUSPECT || (state == State.DOWN && now - stateNanos < SOON_BACK_NANOS);
        long pause = changing ? Math.min(soon.toNanos(), interval.toNanos()) : interval.toNanos();
        return now - probeNanos >= pause;
    }

    void probeStarted(long now) {
        probeNanos = now;
    }

    void probeSucceeded() {
        probeFailures = 0;
        if (!sample.counts()) {
            judgeStreams(System.nanoTime());
        }
        if (hung) {
            return;
        }
        boolean back = refusedBefore && state == State.DOWN;
        if (state == State.DOWN || !wasUp) {
            rise(System.nanoTime());
        }
        move(State.UP, "its health probe succeeded");
        if (back) {
            refusedBefore = false;
            restarted();
        }
    }

    /// @param enough number of late answers in a row that say enough
    /// @param silence legs without a byte for so long end when the engine is taken for dead
    void probeFailed(Miss miss, int enough, Duration silence, String cause) {
        if (miss == Miss.LATE && lastHeard() - probeNanos > 0) {
            probeFailures = 0; // it is busy, not dead: it answers requests meanwhile
            return;
        }
        int failed = probeFailures + 1;
        probeFailures = failed;
        if (miss == Miss.REFUSED) {
            refusedBefore = true;
        }
        if (miss != Miss.LATE || failed >= enough) {
            move(State.DOWN, cause);
            for (Leg leg : legs) {
                leg.loseIfSilent(silence);
            }
        } else if (failed >= ENOUGH_FOR_DOUBT) {
            moveFrom(EnumSet.of(State.UP, State.UNKNOWN), State.SUSPECT, cause);
        }
    }

    /// Whether it has missed probes, but not enough of them to say so.
    boolean isBeingMissed(int enough) {
        return state != State.DOWN && probeFailures > 0 && probeFailures < enough;
    }

    /// It said how busy it is, and what it has computed. An engine that has requests and computes nothing for too
    /// long hangs, whatever `/health` says: that path looks at a flag that a stuck engine never sets.
    void scraped(EngineSample said) {
        long now = System.nanoTime();
        EngineSample before = sample;
        sample = said;
        load = said.load(now);
        if (!said.counts()) {
            return;
        }
        boolean known = before.counts();
        boolean restarted = known && said.restartedSince(before);
        boolean moved = !known || said.movedSince(before);
        if (restarted || (said.idle() && inFlight.get() == 0)) {
            progress.nothingToDo(now);
        } else if (moved) {
            progress.sign(now);
        } else {
            progress.sign(lastHeard());
        }
        if (restarted) {
            LOG.info("{} has started anew: its counters begin again", this);
            restarted();
        }
        if (hung && (restarted || moved || said.idle())) {
            hung = false;
            LOG.info("{} computes again", this);
            watcher.probeNow(this);
        } else if (!hung && state != State.DOWN && progress.overdue(now)) {
            hang(
                    now,
                    "it answers its probes, but has computed nothing for "
                            + progress.silence(now).toMillis() / 1e3 + " s with "
                            + Math.max(inFlight.get(), said.running() + said.waiting()) + " requests");
        }
    }

    /// Where an engine does not count what it computes, its streams are all there is: all of them silent for
    /// too long mean the same. It comes back by the next probe, to one trial at a time.
    private void judgeStreams(long now) {
        List<Leg> streams = legs.stream().filter(Leg::isStreaming).toList();
        if (streams.size() < ENOUGH_SILENT_STREAMS) {
            progress.nothingToDo(now);
        } else {
            progress.sign(lastHeard());
        }
        if (hung) {
            hung = false;
        } else if (state != State.DOWN && progress.overdue(now)) {
            hang(
                    now,
                    "it answers its probes, but its " + streams.size() + " streams are silent for "
                            + progress.silence(now).toMillis() / 1e3 + " s");
        }
    }

    private void hang(long now, String cause) {
        hangs.increment();
        hung = true;
        circuit.trip(now);
        move(State.DOWN, cause);
        progress.nothingToDo(now);
        legs.forEach(leg -> leg.lose("it hangs"));
    }

    /// When it last said anything to a request.
    private long lastHeard() {
        long last = answerNanos;
        for (Leg leg : legs) {
            if (leg.hasHeard() && leg.lastBytesNanos() - last > 0) {
                last = leg.lastBytesNanos();
            }
        }
        return last;
    }

    private void restarted() {
        circuit.reset();
        progress.nothingToDo(System.nanoTime());
        sample = EngineSample.NONE;
        forgetEndpoint();
        watcher.cameBackEmpty(this);
    }

    /// From now on its weight rises.
    private void rise(long now) {
        if (!slowStart.isZero()) {
            risingNanos = now;
            rising = true;
        }
    }

    private void move(State next, String cause) {
        synchronized (this) {
            enter(next, cause);
        }
    }

    private boolean moveFrom(Set<State> before, State next, String cause) {
        if (!before.contains(state)) {
            return false;
        }
        synchronized (this) {
            if (!before.contains(state)) {
                return false;
            }
            enter(next, cause);
            return true;
        }
    }

    private void enter(State next, String cause) {
        State before = state;
        if (before != next) {
            stateNanos = System.nanoTime();
        }
        if (next == State.DOWN) {
            load = EngineLoad.UNKNOWN;
        }
        state = next;
        why = cause;
        if (before != next) {
            tell(before, next, cause);
        }
        wasUp |= next == State.UP;
    }

    /// Engines often start along with the router: the log says of one that is not up yet that it is not, once.
    private void tell(State before, State next, String cause) {
        if (!wasUp && next != State.UP) {
            if (before == State.UNKNOWN) {
                LOG.warn("{} is not up yet: {}", this, cause);
            }
            return;
        }
        String was = before == State.UNKNOWN ? "" : ", was " + before;
        if (next == State.UP) {
            LOG.info("{} is {}{}: {}", this, next, was, cause);
        } else {
            LOG.warn("{} is {}{}: {}", this, next, was, cause);
        }
    }

    @Override
    public String toString() {
        return role().word() + " " + address();
    }
}
