package dev.baton.benchmarks;

import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import dev.baton.router.policy.Decision;
import dev.baton.router.policy.EngineLoad;
import dev.baton.router.policy.EngineView;
import dev.baton.router.policy.FleetPolicy;
import dev.baton.router.policy.PolicyConfig;
import dev.baton.router.policy.PolicyRequest;
import dev.baton.router.policy.RouteOutcome;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/// A route decision with prefix match: a prompt of about 8,192 tokens (32 KiB of text), 32 prefillers and 32 decoders,
/// an index that is full. `known` prompts begin with 31 KiB that some engine has; `fresh` ones are in no cache and
/// all their blocks are added to the index.
///
/// `java -jar benchmarks/target/benchmarks.jar RoutingBenchmark`
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(1)
public class RoutingBenchmark {
    private static final int PROMPT_BYTES = 32 << 10;
    private static final int DOCUMENTS = 2500;
    private static final int ENGINES = 32;
    private static final int BATCH = 512;

    /// How routes are chosen.
    @Param({"ADAPTIVE", "PD"})
    public dev.baton.router.policy.Mode mode = dev.baton.router.policy.Mode.ADAPTIVE;

    /// Whether the prompts' beginnings are known.
    @Param({"known", "fresh"})
    public String prompts = "known";

    private final JsonMapper json = new JsonMapper();
    private final SplittableRandom random = new SplittableRandom(1);
    private final List<Engine> prefillers = new ArrayList<>();
    private final List<Engine> decoders = new ArrayList<>();
    private final List<String> documents = new ArrayList<>();
    private final List<PolicyRequest> requests = new ArrayList<>();
    private final List<Decision<Engine>> decisions = new ArrayList<>();
    private FleetPolicy policy = new FleetPolicy(PolicyConfig.defaults(), true);

    /// An engine of a fleet that does not exist.
    public record Engine(EngineAddress address, EngineRole role) implements EngineView {
        @Override
        public double weight() {
            return 1;
        }

        @Override
        public int inFlight() {
            return 3;
        }

        @Override
        public EngineLoad load() {
            return EngineLoad.UNKNOWN;
        }
    }

    @Setup(Level.Trial)
    public void setUp() {
        policy = new FleetPolicy(PolicyConfig.builder().mode(mode).build(), true);
        for (int i = 0; i < ENGINES; i++) {
            prefillers.add(new Engine(new EngineAddress("10.0.0." + i, 8100), EngineRole.PREFILLER));
            decoders.add(new Engine(new EngineAddress("10.0.1." + i, 8200), EngineRole.DECODER));
        }
        for (int i = 0; i < DOCUMENTS; i++) {
            documents.add(text(PROMPT_BYTES - 1024));
            serve(request(documents.getLast() + text(1024)));
        }
        if (policy.report().indexedBlocks() < 500_000) {
            throw new IllegalStateException("only " + policy.report().indexedBlocks() + " blocks: not timing it");
        }
    }

    private String text(int bytes) {
        StringBuilder text = new StringBuilder(bytes + 16);
        while (text.length() < bytes) {
            text.append(Long.toString(random.nextLong() >>> 1, 36)).append(' ');
        }
        text.setLength(bytes);
        return text.toString();
    }

    private PolicyRequest request(String prompt) {
        ObjectNode body = json.createObjectNode().put("model", "m").put("prompt", prompt);
        return new PolicyRequest(body, false, "");
    }

    private void serve(PolicyRequest request) {
        end(request, policy.route(request, prefillers, decoders).orElseThrow());
    }

    private void end(PolicyRequest request, Decision<Engine> decision) {
        policy.prefilled(request);
        policy.firstToken(request);
        policy.ended(request, new RouteOutcome(decision.route(), true, 1, 2, 100, 8192, -1, 100));
    }

    /// Requests cannot be routed twice.
    @Setup(Level.Invocation)
    public void makeRequests() {
        for (int i = 0; i < BATCH; i++) {
            String known = documents.get(random.nextInt(documents.size()));
            requests.add(request(prompts.equals("known") ? known + text(1024) : text(PROMPT_BYTES)));
        }
    }

    @TearDown(Level.Invocation)
    public void endRequests() {
        for (int i = 0; i < BATCH; i++) {
            end(requests.get(i), decisions.get(i));
        }
        decisions.clear();
        requests.clear();
    }

    /// Hashes the prompt, looks it up, weighs, and adds it to the index.
    @Benchmark
    @OperationsPerInvocation(BATCH)
    public List<Decision<Engine>> route() {
        for (PolicyRequest request : requests) {
            decisions.add(policy.route(request, prefillers, decoders).orElseThrow());
        }
        return decisions;
    }
}
