package dev.baton.transfer;

import dev.baton.kvcache.KvCacheSpec;
import dev.baton.metrics.Metrics;
import dev.baton.tensor.PagedKv;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/// Several connectors in one engine, in order: vLLM's `MultiConnector`. The first that has something to load
/// loads it; all save; blocks of a finished request stay until the last that wants them has let go; at most one
/// answers with `kv_transfer_params`.
///
/// Configured by `kv_connector_extra_config.connectors`, a list of objects like `--kv-transfer-config` itself,
/// whose keys default to the outer ones. Thread-safe as its interfaces say.
public final class MultiConnector implements KvConnector, KvConnector.SchedulerSide, KvConnector.WorkerSide {
    /// Its `kv_connector`.
    public static final String NAME = "MultiConnector";

    private static final String CONNECTORS = "connectors";
    private static final Set<String> KEYS = new TreeSet<>(
            Set.of("kv_connector", "kv_role", "engine_id", "kv_ip", "kv_port", "kv_connector_extra_config"));
    private static final int HIGHEST_PORT = 65_535;

    private final List<KvConnector> parts = new ArrayList<>();
    private final Map<String, Integer> chosen = new HashMap<>(); // engine thread; which part loads for a request
    private final Map<String, Holds> holds = new HashMap<>(); // guarded by itself
    private final Consumer<KvEvent> sink;

    /// The leases of one finished request: the engine hears of the last one's end.
    private static final class Holds {
        private int held;
        private int ended;
        private boolean asked; // whether every connector has been asked
        private boolean expired;
    }

    private MultiConnector(Consumer<KvEvent> sink) {
        this.sink = sink;
    }

    /// Starts the connectors; see [KvConnectorFactory#create].
    public static MultiConnector start(
            KvTransferConfig config,
            KvCacheSpec spec,
            PagedKv pool,
            Map<String, String> compatibility,
            Consumer<KvEvent> sink) {
        List<KvTransferConfig> configs = parts(config);
        MultiConnector all = new MultiConnector(sink);
        try {
            for (KvTransferConfig part : configs) {
                all.parts.add(KvConnectors.create(part, spec, pool, compatibility, all::take));
            }
        } catch (RuntimeException | Error e) {
            all.close();
            throw e;
        }
        return all;
    }

    /// Whether one of the connectors has other processes of this host map the KV cache.
    static boolean sharesMemory(KvTransferConfig config) {
        return parts(config).stream().anyMatch(KvConnectors::sharesMemory);
    }

    private static List<KvTransferConfig> parts(KvTransferConfig outer) {
        if (outer.extra().size() != 1
                || !(outer.extra().get(CONNECTORS) instanceof List<?> list)
                || list.isEmpty()
                || !list.stream().allMatch(Map.class::isInstance)) {
            throw new TransferException("kv_connector_extra_config: MultiConnector needs " + CONNECTORS
                    + " and nothing else: a list of objects, each with kv_connector");
        }
        List<KvTransferConfig> parts = new ArrayList<>();
        for (Object item : list) {
            parts.add(part(outer, (Map<?, ?>) item));
        }
        return parts;
    }

    private static KvTransferConfig part(KvTransferConfig outer, Map<?, ?> fields) {
        for (Object key : fields.keySet()) {
            if (!KEYS.contains(key.toString())) {
                throw new TransferException("kv_connector_extra_config: an entry of %s has no \"%s\"; it has %s"
                        .formatted(CONNECTORS, key, KEYS));
            }
        }
        if (!(fields.get("kv_connector") instanceof String connector) || connector.equals(NAME)) {
            throw new TransferException(
                    "kv_connector_extra_config: an entry of %s needs kv_connector, the name of another connector"
                            .formatted(CONNECTORS));
        }
        Map<String, Object> extra = new HashMap<>();
        if (fields.get("kv_connector_extra_config") instanceof Map<?, ?> given) {
            given.forEach((key, value) -> extra.put(key.toString(), value));
        }
        return new KvTransferConfig(
                connector,
                role(fields, outer.role()),
                text(fields, "engine_id", outer.engineId()),
                text(fields, "kv_ip", outer.ip()),
                port(fields),
                outer.loadFailurePolicy(),
                extra);
    }

    private static String text(Map<?, ?> fields, String key, String otherwise) {
        Object value = fields.get(key);
        if (value == null) {
            return otherwise;
        }
        if (!(value instanceof String text) || text.isBlank()) {
            throw new TransferException("kv_connector_extra_config: %s of an entry of %s must be a text, got %s"
                    .formatted(key, CONNECTORS, value));
        }
        return text;
    }

    private static KvRole role(Map<?, ?> fields, KvRole otherwise) {
        String name = text(fields, "kv_role", otherwise.name().toLowerCase(Locale.ROOT));
        for (KvRole role : KvRole.values()) {
            if (role.name().toLowerCase(Locale.ROOT).equals(name)) {
                return role;
            }
        }
        throw new TransferException("kv_connector_extra_config: kv_role of an entry of %s is \"%s\"; choose from %s"
                .formatted(CONNECTORS, name, List.of(KvRole.values()).toString().toLowerCase(Locale.ROOT)));
    }

    /// Any free one unless given: two connectors cannot share the outer one.
    private static int port(Map<?, ?> fields) {
        Object value = fields.get("kv_port");
        if (value == null) {
            return 0;
        }
        String text = value.toString();
        if (!text.matches("\\d{1,5}") || Integer.parseInt(text) > HIGHEST_PORT) {
            throw new TransferException("kv_connector_extra_config: kv_port of an entry of %s must be 0 to %d, got %s"
                    .formatted(CONNECTORS, HIGHEST_PORT, text));
        }
        return Integer.parseInt(text);
    }

    @Override
    public SchedulerSide scheduler() {
        return this;
    }

    @Override
    public WorkerSide worker() {
        return this;
    }

    @Override
    public String describe() {
        return parts.stream().map(KvConnector::describe).collect(Collectors.joining("; ", NAME + ": ", ""));
    }

    /// The first one's that has something to say. Instances that are to know each other have the same connectors.
    @Override
    public Optional<KvPeer> peer() {
        return parts.stream().flatMap(part -> part.peer().stream()).findFirst();
    }

    @Override
    public KvTransferStats stats() {
        return parts.stream().map(KvConnector::stats).reduce(KvTransferStats.ZERO, KvTransferStats::plus);
    }

    /// Of several connectors of one kind the first counts.
    @Override
    public void addTo(Metrics metrics) {
        Set<Class<?>> kinds = new HashSet<>();
        parts.stream().filter(part -> kinds.add(part.getClass())).forEach(part -> part.addTo(metrics));
    }

    @Override
    public void close() {
        // The last first, as with resources: each gets its chance, whatever another throws.
        RuntimeException failure = null;
        for (KvConnector part : parts.reversed()) {
            try {
                part.close();
            } catch (RuntimeException e) {
                failure = e;
            }
        }
        if (failure != null) {
            throw failure;
        }
    }

    /* The scheduler side. */

    @Override
    public int numNewMatchedTokens(KvRequest request, int numComputedTokens) {
        int matched = 0;
        boolean stores = false; // whether what was chosen is a store
        for (int i = 0; i < parts.size(); i++) {
            // All are asked: one that names a prefiller's blocks keeps their lease alive by this.
            int tokens = parts.get(i).scheduler().numNewMatchedTokens(request, numComputedTokens);
            // What a prefiller holds for this very request is there; what a store may have, may not be.
            boolean surer = stores
                    && !parts.get(i).scheduler().asksStores()
                    && request.params().doRemotePrefill();
            if (tokens > 0 && (matched == 0 || surer)) {
                matched = tokens;
                chosen.put(request.requestId(), i);
                stores = parts.get(i).scheduler().asksStores();
            }
        }
        return matched;
    }

    @Override
    public void updateStateAfterAlloc(KvRequest request, int[] blockIds, int numComputedTokens, int numExternalTokens) {
        Integer loads = chosen.remove(request.requestId());
        for (int i = 0; i < parts.size(); i++) {
            int external = loads != null && loads == i ? numExternalTokens : 0;
            parts.get(i).scheduler().updateStateAfterAlloc(request, blockIds, numComputedTokens, external);
        }
    }

    @Override
    public List<KvLoad> takeLoads() {
        List<KvLoad> loads = new ArrayList<>();
        parts.forEach(part -> loads.addAll(part.scheduler().takeLoads()));
        return loads;
    }

    @Override
    public boolean asksStores() {
        return parts.stream().anyMatch(part -> part.scheduler().asksStores());
    }

    @Override
    public boolean saves() {
        return parts.stream().anyMatch(part -> part.scheduler().saves());
    }

    @Override
    public void computed(KvRequest request, int[] blockIds, int numComputedTokens) {
        for (KvConnector part : parts) {
            if (part.scheduler().saves()) {
                part.scheduler().computed(request, blockIds, numComputedTokens);
            }
        }
    }

    @Override
    public boolean pushes() {
        return parts.stream().anyMatch(part -> part.scheduler().pushes());
    }

    @Override
    public void computing(KvRequest request, int[] blockIds, int numComputedTokens, int endTokens) {
        parts.forEach(part -> part.scheduler().computing(request, blockIds, numComputedTokens, endTokens));
    }

    @Override
    public void layerComputed(int layer) {
        parts.forEach(part -> part.scheduler().layerComputed(layer));
    }

    @Override
    public void preempted(KvRequest request) {
        parts.forEach(part -> part.scheduler().preempted(request));
    }

    @Override
    public KvHold requestFinished(KvFinished finished) {
        String requestId = finished.request().requestId();
        chosen.remove(requestId);
        synchronized (holds) {
            holds.put(requestId, new Holds());
        }
        KvTransferParams answer = KvTransferParams.NONE;
        int held = 0;
        for (KvConnector part : parts) {
            KvHold hold = part.scheduler().requestFinished(finished);
            held += hold instanceof KvHold.UnderLease ? 1 : 0;
            if (answer.isEmpty()) {
                answer = hold.answer();
            }
        }
        boolean over;
        Holds all;
        synchronized (holds) {
            all = holds.get(requestId);
            all.held = held;
            all.asked = true;
            over = all.ended == held;
            if (over) {
                holds.remove(requestId);
            }
        }
        if (held == 0) {
            return new KvHold.FreeNow(answer);
        }
        if (over) {
            report(requestId, all);
        }
        return new KvHold.UnderLease(answer);
    }

    /// An event of one of the connectors.
    private void take(KvEvent event) {
        switch (event) {
            case KvEvent.KvArrived _, KvEvent.KvFailed _, KvEvent.KvFirstToken _ -> sink.accept(event);
            case KvEvent.LeaseReleased(String requestId) -> ended(requestId, false);
            case KvEvent.LeaseExpired(String requestId) -> ended(requestId, true);
        }
    }

    private void ended(String requestId, boolean expired) {
        Holds all;
        synchronized (holds) {
            all = holds.get(requestId);
            if (all == null) {
                return;
            }
            all.ended++;
            all.expired |= expired;
            if (!all.asked || all.ended < all.held) {
                return;
            }
            holds.remove(requestId);
        }
        report(requestId, all);
    }

    private void report(String requestId, Holds all) {
        sink.accept(all.expired ? new KvEvent.LeaseExpired(requestId) : new KvEvent.LeaseReleased(requestId));
    }

    /* The worker side. */

    @Override
    public void connect(KvPeer peer) {
        parts.stream()
                .filter(part -> part.peer().isPresent())
                .findFirst()
                .ifPresent(part -> part.worker().connect(peer));
    }

    @Override
    public void cancelLoad(String requestId) {
        parts.forEach(part -> part.worker().cancelLoad(requestId));
    }

    @Override
    public void release(KvTransferParams params) {
        parts.forEach(part -> part.worker().release(params));
    }

    @Override
    public void dropLease(String requestId) {
        parts.forEach(part -> part.worker().dropLease(requestId));
    }

    @Override
    public int numLeases() {
        return parts.stream().mapToInt(part -> part.worker().numLeases()).sum();
    }

    @Override
    public int numLoads() {
        return parts.stream().mapToInt(part -> part.worker().numLoads()).sum();
    }
}
