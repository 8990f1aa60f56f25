package dev.baton.router.policy;

import static org.assertj.core.api.Assertions.assertThat;

import dev.baton.router.policy.RoutingSimulator.Result;
import dev.baton.router.policy.RoutingSimulator.Workload;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
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
        return String.format(
                Locale.ROOT,
                "| %dP%dD | %d + %d x %d, %d out | %.1f | %.0f | %.0f | %.0f | %.0f | %.0f | %.2f |",
                workload.prefillers(),
                workload.decoders(),
                workload.promptTokens(),
                workload.turns() - 1,
                workload.turnTokens(),
                workload.outputTokens(),
                workload.load(),
                workload.hardware().linkTokensPerMilli(),
                result(results, Mode.PD).cost(),
                result(results, Mode.PPD).cost(),
                result(results, Mode.AGGREGATED).cost(),
                result(results, Mode.ADAPTIVE).cost(),
                ratio(results));
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
