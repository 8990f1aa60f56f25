package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.router.policy.RoutingSimulator.Result;
import dev.baton.router.policy.RoutingSimulator.Workload;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/// The mode adaptive against the best of the other three, over fleets, workloads and loads. Its cost is that of the
/// best where nothing is to be gained, and less where modes can be mixed.
class RoutingSimulationTest {
    private static final long SEED = 42;

    /// First prompt, later turns' tokens, turns, output tokens, shared tokens.
    private static final int[][] CONVERSATIONS = {
        {300, 100, 1, 200, 0},
        {4000, 100, 1, 64, 0},
        {4000, 200, 6, 128, 500},
        {500, 200, 8, 256, 500},
        {16000, 200, 4, 32, 0},
        {12000, 2000, 3, 128, 0},
    };

    private static Workload workload(
            int prefillers, int decoders, int conversation, double load, double linkTokensPerMilli, int requests) {
        int[] tokens = CONVERSATIONS[conversation];
        return new Workload(
                prefillers,
                decoders,
                RoutingSimulator.gpu(linkTokensPerMilli),
                tokens[0],
                tokens[1],
                tokens[2],
                tokens[3],
                tokens[4],
                load,
                requests);
    }

    static List<Workload> someWorkloads() {
        return List.of(
                workload(1, 1, 0, 0.5, 400, 600),
                workload(1, 1, 1, 0.6, 400, 600),
                workload(1, 3, 1, 0.6, 20, 600),
                workload(1, 1, 2, 0.2, 400, 600),
                workload(3, 1, 3, 0.2, 20, 600),
                workload(3, 1, 5, 0.2, 20, 600));
    }

    @ParameterizedTest
    @MethodSource("someWorkloads")
    void adaptiveIsAsGoodAsTheBestStaticMode(Workload workload) {
        Map<Mode, Result> results = RoutingSimulator.runAll(workload, SEED);
        assertThat(ratio(results)).as(row(workload, results)).isGreaterThanOrEqualTo(0.95);
    }

    @Test
    void theSameSeedGivesTheSameResult() {
        Workload workload = workload(1, 1, 2, 0.5, 400, 200);
        PolicyConfig config = PolicyConfig.defaults();
        assertThat(RoutingSimulator.run(workload, config, 1)).isEqualTo(RoutingSimulator.run(workload, config, 1));
        assertThat(RoutingSimulator.run(workload, config, 1)).isNotEqualTo(RoutingSimulator.run(workload, config, 2));
    }

    /// Cost of the best static mode against that of the adaptive one.
    private static double ratio(Map<Mode, Result> results) {
        double best = Double.POSITIVE_INFINITY;
        for (Mode mode : List.of(Mode.PD, Mode.PPD, Mode.AGGREGATED)) {
            best = Math.min(best, result(results, mode).cost());
        }
        return best / result(results, Mode.ADAPTIVE).cost();
    }

    private static Result result(Map<Mode, Result> results, Mode mode) {
        Result result = results.get(mode);
        assertThat(result).isNotNull();
        return result;
    }

    private static String row(Workload workload, Map<Mode, Result> results) {
        return costs(
                "%dP%dD | %d + %d x %d, %d out | %.1f | %.0f"
                        .formatted(
                                workload.prefillers(),
                                workload.decoders(),
                                workload.promptTokens(),
                                workload.turns() - 1,
                                workload.turnTokens(),
                                workload.outputTokens(),
                                workload.load(),
                                workload.hardware().linkTokensPerMilli()),
                results);
    }

    private static String costs(String what, Map<Mode, Result> results) {
        return String.format(
                Locale.ROOT,
                "| %s | %.0f | %.0f | %.0f | %.0f | %.2f |",
                what,
                result(results, Mode.PD).cost(),
                result(results, Mode.PPD).cost(),
                result(results, Mode.AGGREGATED).cost(),
                result(results, Mode.ADAPTIVE).cost(),
                ratio(results));
    }

    /// Conversations as a recorder would have seen them: every turn a request of its own, whose blocks begin with
    /// those of the turn before.
    private static List<TracedRequest> recorded(int conversations) {
        SplittableRandom random = new SplittableRandom(SEED);
        List<TracedRequest> trace = new ArrayList<>();
        long nextBlock = 1;
        for (int i = 0; i < conversations; i++) {
            double at = i * 1000;
            List<Long> blocks = new ArrayList<>(List.of(0L, 0L));
            for (int turn = 0; turn < 5; turn++) {
                blocks.removeLast(); // it was not full, so it is another one now
                for (int added = random.nextInt(2, turn == 0 ? 20 : 4); added > 0; added--) {
                    blocks.add(nextBlock++);
                }
                int tokens = TracedRequest.BLOCK_TOKENS * blocks.size() - random.nextInt(TracedRequest.BLOCK_TOKENS);
                trace.add(TracedRequest.of(at, tokens, random.nextInt(1, 300), blocks));
                at += 3000 + random.nextInt(20_000);
            }
        }
        trace.sort(Comparator.comparingDouble(TracedRequest::atMillis));
        return TracedRequest.linked(trace);
    }

    @Test
    void adaptiveIsAsGoodAsTheBestStaticModeForARecordedTrace() {
        RoutingSimulator.Replay replay =
                new RoutingSimulator.Replay(1, 1, RoutingSimulator.gpu(400), recorded(200), 0.5);
        Map<Mode, Result> results = RoutingSimulator.runAll(replay, SEED);
        assertThat(ratio(results)).as(results.toString()).isGreaterThanOrEqualTo(0.95);
    }

    @Test
    void aTraceIsReadAsItWasPublished(@TempDir Path folder) throws IOException {
        Path file = folder.resolve("trace.jsonl");
        Files.writeString(file, """
                {"timestamp": 0, "input_length": 1030, "output_length": 3, "hash_ids": [0, 7, 8]}
                {"timestamp": 27482, "input_length": 512, "output_length": 0, "hash_ids": [0]}
                {"timestamp": 30123, "input_length": 1800, "output_length": 3, "hash_ids": [0, 7, 9, 10]}
                """);
        List<TracedRequest> trace = TracedRequest.read(file, 10);
        assertThat(trace)
                .containsExactly(
                        new TracedRequest(0, 0, 1030, 3, List.of(0L, 7L, 8L), -1),
                        new TracedRequest(1, 27482, 512, 1, List.of(0L), -1),
                        new TracedRequest(2, 30123, 1800, 3, List.of(0L, 7L, 9L, 10L), 0));
        assertThat(trace.getFirst().blockTokens(2)).isEqualTo(6);
        assertThat(TracedRequest.read(file, 1)).hasSize(1);
    }

    /// A trace at several loads and links, as a table: `scripts/simulate-routing --trace FILE`.
    @Test
    @EnabledIfSystemProperty(named = "baton.simulation.trace", matches = ".+")
    void wholeTrace() throws IOException {
        List<TracedRequest> trace = TracedRequest.read(
                Path.of(System.getProperty("baton.simulation.trace")),
                Integer.getInteger("baton.simulation.requests", 1200));
        System.out.println("| fleet | load | link tokens/ms | pd | ppd | aggregated | adaptive | ratio |");
        System.out.println("|---|---|---|---|---|---|---|---|");
        for (int[] fleet : new int[][] {{1, 1}, {3, 1}, {1, 3}}) {
            for (double load : new double[] {0.2, 0.5, 0.8}) {
                for (double link : new double[] {20, 400}) {
                    Map<Mode, Result> results = RoutingSimulator.runAll(
                            new RoutingSimulator.Replay(fleet[0], fleet[1], RoutingSimulator.gpu(link), trace, load),
                            SEED);
                    System.out.println(
                            costs("%dP%dD | %.1f | %.0f".formatted(fleet[0], fleet[1], load, link), results));
                }
            }
        }
    }

    /// The whole grid, as a table: `scripts/simulate-routing`.
    @Test
    @EnabledIfSystemProperty(named = "baton.simulation.requests", matches = "[0-9]+")
    void wholeGrid() {
        int requests = Integer.getInteger("baton.simulation.requests", 1200);
        List<String> table = new ArrayList<>();
        Map<Mode, Integer> wins = new EnumMap<>(Mode.class);
        int cells = 0;
        int reached = 0;
        for (int[] fleet : new int[][] {{1, 1}, {3, 1}, {1, 3}}) {
            for (int conversation = 0; conversation < CONVERSATIONS.length; conversation++) {
                for (double load : new double[] {0.2, 0.5}) {
                    for (double link : new double[] {20, 400}) {
                        Workload workload = workload(fleet[0], fleet[1], conversation, load, link, requests);
                        Map<Mode, Result> results = RoutingSimulator.runAll(workload, SEED);
                        table.add(row(workload, results));
                        cells++;
                        reached += ratio(results) >= 0.95 ? 1 : 0;
                        Mode best = Mode.PD;
                        for (Mode mode : List.of(Mode.PPD, Mode.AGGREGATED)) {
                            if (result(results, mode).cost()
                                    < result(results, best).cost()) {
                                best = mode;
                            }
                        }
                        wins.merge(best, 1, Integer::sum);
                    }
                }
            }
        }
        System.out.println(
                "| fleet | prompt + turns | load | link tokens/ms | pd | ppd | aggregated | adaptive | ratio |");
        System.out.println("|---|---|---|---|---|---|---|---|---|");
        table.forEach(System.out::println);
        System.out.printf("%d of %d cells reach 0.95; best static modes: %s%n", reached, cells, wins);
        assertThat(wins).containsKeys(Mode.PD, Mode.PPD, Mode.AGGREGATED);
    }
}
