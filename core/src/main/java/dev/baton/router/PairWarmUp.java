package dev.baton.router;

import dev.baton.http.HttpExchange;
import dev.baton.http.HttpRuntime;
import dev.baton.http.HttpServer;
import dev.baton.http.HttpServerConfig;
import dev.baton.http.Json;
import dev.baton.http.LoopbackCall;
import dev.baton.openai.TokenIds;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.EngineView;
import dev.baton.router.policy.FleetPolicy;
import dev.baton.router.policy.PolicyRequest;
import dev.baton.router.policy.PushChoice;
import dev.baton.router.policy.Route;
import dev.baton.router.policy.RoutingPolicy;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.UUID;
import java.util.random.RandomGenerator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Sends requests through a prefiller and a decoder that have just been introduced to each other, before
/// clients do: the first request of a pair loads and compiles what it passes in three processes, and a client
/// would wait for that.
///
/// They come in by a server of their own on the loopback and take a client's way from there on: through the
/// router, both engines and their connectors. The router's metrics of requests and its access log have none of
/// them, and its policy learns nothing from them; to engines they are requests like others. Their prompts are
/// random, so that they find nothing in a cache, and nobody will find them there. An engine that has been in a
/// pair needs no other. Thread-safe.
final class PairWarmUp implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(PairWarmUp.class);
    private static final String SECRET_HEADER = "x-warm-up";
    private static final int LEAST_ROUNDS = 4;
    private static final int MOST_ROUNDS = 8;

    /// A round that takes more of the time of that before it says that the next one would gain little.
    private static final double STEADY = 0.8;

    private static final Duration TIME = Duration.ofSeconds(3);
    private static final Duration HOLDS_UP = Duration.ofSeconds(30);
    private static final Duration SILENCE = Duration.ofSeconds(20); // on a busy machine the first one takes 6
    private static final Duration LEAVE = Duration.ofSeconds(5);
    private static final int PROMPT_WORDS = 48;
    private static final int PROMPT_TOKENS = 200;
    private static final int TOKENS_OF_ANY_MODEL = 250;
    private static final int LONG_PROMPTS = 64;
    private static final int LONG_PROMPT_TOKENS = 2048;
    private static final int IDS_OF_LARGE_MODELS = 128_000;
    private static final int LONGEST_WORD = 8;
    private static final int NEW_TOKENS = 8;
    private static final int UNAUTHORIZED = 401;
    private static final int FORBIDDEN = 403;
    private static final int SERVER_ERROR = 500;

    /// Two engines that have been, or are being, introduced to each other. Each is one of its own: an engine that is
    /// started anew while requests go through it is in another one behind that.
    static final class Pair {
        private final Upstream prefiller;
        private final Upstream decoder;
        private final List<Upstream> cold; // that are not warm

        private Pair(Upstream prefiller, Upstream decoder, List<Upstream> cold) {
            this.prefiller = prefiller;
            this.decoder = decoder;
            this.cold = cold;
        }

        private boolean has(Upstream engine) {
            return prefiller.equals(engine) || decoder.equals(engine);
        }
    }

    private final HttpRuntime runtime;
    private final RouterContext context;
    private final Refusals refusals;
    private final String secret = UUID.randomUUID().toString();
    private final RandomGenerator chance = RandomGenerator.getDefault();

    private final Set<Upstream> warm = new HashSet<>(); // guarded by this, as are the following
    private final Set<Pair> announced = new HashSet<>();
    private final Queue<Pair> waiting = new ArrayDeque<>();
    private @Nullable Thread worker;
    private boolean closed;
    private long sinceNanos; // when the first of those announced was

    private volatile boolean hasReadLongPrompts; // by this process: once is enough, whatever the pair

    /// @param context of the clients' requests
    PairWarmUp(HttpRuntime runtime, RouterContext context) {
        this.runtime = runtime;
        this.context = context;
        this.refusals = new Refusals(context.accessLog());
    }

    /// Two engines are being introduced to each other.
    ///
    /// @return for [#begin] or [#drop], of which one has to follow; empty if both are warm, or in a pair to be so
    synchronized Optional<Pair> announce(Upstream prefiller, Upstream decoder) {
        List<Upstream> cold = Stream.of(prefiller, decoder)
                .filter(engine -> !warm.contains(engine))
                .toList();
        if (cold.isEmpty()) {
            return Optional.empty();
        }
        if (announced.isEmpty()) {
            sinceNanos = System.nanoTime();
        }
        warm.addAll(cold);
        Pair pair = new Pair(prefiller, decoder, cold);
        announced.add(pair);
        return Optional.of(pair);
    }

    /// They know each other: requests go through them from now on, for some seconds at most.
    synchronized void begin(Pair pair) {
        if (!announced.contains(pair)) {
            return; // one of the two has left
        }
        waiting.add(pair);
        if (worker == null && !closed) {
            worker = Thread.ofVirtual().name("baton-warm-up").start(this::work);
        }
    }

    /// They could not be introduced.
    synchronized void drop(Pair pair) {
        if (announced.remove(pair)) {
            pair.cold.forEach(warm::remove);
        }
    }

    /// An engine was started anew: it is to be in a pair again.
    synchronized void forget(Upstream engine) {
        warm.remove(engine);
    }

    /// An engine has left: nobody waits for its pairs. Who was to become warm with it does in another pair.
    synchronized void left(Upstream engine) {
        for (Pair pair : List.copyOf(announced)) {
            if (pair.has(engine)) {
                waiting.remove(pair);
                drop(pair);
            }
        }
        warm.remove(engine);
    }

    /// Whether there are pairs whose requests have not ended; not for longer than 30 s, however many there are.
    synchronized boolean isUnderWay() {
        return !announced.isEmpty() && System.nanoTime() - sinceNanos < HOLDS_UP.toNanos();
    }

    private void work() {
        for (Optional<Pair> next = next(Optional.empty()); next.isPresent(); next = next(next)) {
            warmUp(next.get());
        }
    }

    private synchronized Optional<Pair> next(Optional<Pair> done) {
        done.ifPresent(announced::remove);
        Optional<Pair> next = closed ? Optional.empty() : Optional.ofNullable(waiting.poll());
        if (next.isEmpty()) {
            worker = null;
        }
        return next;
    }

    private synchronized boolean isAnnounced(Pair pair) {
        return announced.contains(pair);
    }

    private void warmUp(Pair pair) {
        RouterContext ofPair = ofPair(pair);
        Generations generations =
                new Generations(ofPair, new LoadShedder(context.config().maxQueueWait(), 1, System.nanoTime()));
        HttpServerConfig loopback = HttpServerConfig.of("127.0.0.1", 0);
        try (HttpServer server = runtime.serve(loopback, exchange -> take(exchange, generations))) {
            long start = System.nanoTime();
            if (!hasReadLongPrompts) {
                readLongPrompts(pair, ofPair.policy());
                hasReadLongPrompts = true;
            }
            int requests = send(server.port());
            LOG.info(
                    "{} requests in {} ms through {} and {}, which are new",
                    requests,
                    (System.nanoTime() - start) / 1_000_000,
                    pair.prefiller,
                    pair.decoder);
        } catch (Exception e) { // interrupts among them, which the server's end does not declare
            if (!isAnnounced(pair)) {
                return; // one of the two has left
            }
            LOG.warn(
                    "the first requests through {} and {} will be slow, as those before them were not answered: {}",
                    pair.prefiller,
                    pair.decoder,
                    e.getMessage());
        } finally {
            Thread.interrupted(); // else what follows could not wait
        }
    }

    /// A long prompt is a loop in whatever reads, hashes and writes it, and no number of short ones compiles
    /// these. It is not sent: engines would compute it, or have to refuse it.
    private void readLongPrompts(Pair pair, RoutingPolicy policy) {
        for (int i = 0; i < LONG_PROMPTS; i++) {
            int[] ids = chance.ints(LONG_PROMPT_TOKENS, 0, IDS_OF_LARGE_MODELS).toArray();
            byte[] body = Json.bytes(fields("prompt", ids));
            GenerationRequest request = GenerationRequest.parse(Endpoint.COMPLETIONS, body, "");
            policy.route(request.facts(), List.of(pair.prefiller), List.of(pair.decoder));
            TokenIds.bytes(request.tree(), Json::bytes);
        }
    }

    /// Round by round, until one is not much faster than that before it. An odd number is in a round, so that
    /// the next has the other way of transfer for each kind: as long as nothing is known of a pair, pull and
    /// push take turns.
    ///
    /// @return how many were answered
    private int send(int port) throws IOException {
        long end = System.nanoTime() + TIME.toNanos();
        long former = Long.MAX_VALUE;
        int sent = 0;
        for (int round = 1; round <= MOST_ROUNDS; round++) {
            long start = System.nanoTime();
            for (LoopbackCall request : List.of(text(), tokenIds(), chat())) {
                if (System.nanoTime() - end > 0) {
                    return sent;
                }
                int status = request.send(port, SILENCE);
                if (status >= SERVER_ERROR || status == UNAUTHORIZED || status == FORBIDDEN) {
                    throw new IOException("the answer has the status " + status);
                }
                sent++;
            }
            long took = System.nanoTime() - start;
            if (round >= LEAST_ROUNDS && took > STEADY * former) {
                return sent;
            }
            former = took;
        }
        return sent;
    }

    private LoopbackCall text() {
        return request(Endpoint.COMPLETIONS, "prompt", words());
    }

    private LoopbackCall tokenIds() {
        return request(
                Endpoint.COMPLETIONS,
                "prompt",
                chance.ints(PROMPT_TOKENS, 0, TOKENS_OF_ANY_MODEL).toArray());
    }

    /// A model without a chat template refuses it, which does no harm.
    private LoopbackCall chat() {
        return request(Endpoint.CHAT_COMPLETIONS, "messages", List.of(Map.of("role", "user", "content", words())));
    }

    private LoopbackCall request(Endpoint endpoint, String field, Object prompt) {
        return LoopbackCall.post(endpoint.path(), Map.of(SECRET_HEADER, secret), fields(field, prompt));
    }

    private static Map<String, Object> fields(String field, Object prompt) {
        return Map.of(field, prompt, "max_tokens", NEW_TOKENS, "temperature", 0, "ignore_eos", true, "stream", true);
    }

    private String words() {
        return IntStream.range(0, PROMPT_WORDS).mapToObj(i -> word()).collect(Collectors.joining(" "));
    }

    private String word() {
        return chance.ints(chance.nextInt(1, LONGEST_WORD), 'a', 'z' + 1)
                .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append)
                .toString();
    }

    /// Whoever else finds the port is sent away.
    private void take(HttpExchange exchange, Generations generations) {
        refusals.guarded(
                exchange,
                () -> Endpoint.of(exchange.path())
                        .filter(any -> exchange.header(SECRET_HEADER).equals(Optional.of(secret)))
                        .ifPresentOrElse(
                                endpoint -> generations.generate(exchange, endpoint, System.nanoTime()),
                                () -> refusals.refuse(exchange, RouterErrors.NOT_FOUND)));
    }

    /// The clients' context, but for what counts, learns and logs.
    private RouterContext ofPair(Pair pair) {
        return new RouterContext(
                context.config().toBuilder().accessLog(false).build(),
                context.pool(),
                new OnePair(
                        pair,
                        new FleetPolicy(
                                context.config().policy(),
                                context.config().backend().prefillersServeAlone())),
                new PushChoice(context.config().kvTransfer()),
                () -> false,
                context.announcements(),
                context.client(),
                new RouterMetrics(EngineHealth.fleetMetrics(context.config().health())),
                new TtftStats(),
                new AccessLog(false),
                new HandoffObstacles());
    }

    @Override
    public void close() {
        Thread running;
        synchronized (this) {
            closed = true;
            running = worker;
        }
        if (running == null) {
            return;
        }
        running.interrupt();
        try {
            running.join(LEAVE);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /// A policy like the clients', asked for every choice, whose route is that of one pair.
    ///
    /// @param pair the two
    /// @param like what is asked beside
    private record OnePair(Pair pair, RoutingPolicy like) implements RoutingPolicy {
        @Override
        public <E extends EngineView> Optional<Decision<E>> route(
                PolicyRequest request, List<E> prefillers, List<E> decoders) {
            List<E> prefiller =
                    prefillers.stream().filter(pair.prefiller::equals).toList();
            List<E> decoder = decoders.stream().filter(pair.decoder::equals).toList();
            if (prefiller.isEmpty() || decoder.isEmpty()) {
                return Optional.empty();
            }
            return like.route(request, prefiller, decoder)
                    .map(usual -> new Decision<>(
                            new Route.Disaggregated<>(prefiller.getFirst(), decoder.getFirst()),
                            usual.reason(),
                            usual.considered()));
        }
    }
}
