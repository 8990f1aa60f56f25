package dev.baton.cli;

import dev.baton.router.policy.Balancing;
import dev.baton.router.policy.KvTransferWay;
import dev.baton.router.policy.Mode;
import dev.baton.router.policy.PolicyConfig;
import java.util.Optional;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.Option;
import picocli.CommandLine.TypeConversionException;

/// The flags that say how routes are chosen.
final class RoutingOptions {
    @Option(
            names = "--mode",
            paramLabel = "NAME",
            defaultValue = "adaptive",
            converter = ModeName.class,
            description = "Which routes are taken at the start: pd, ppd, aggregated or adaptive (default:"
                    + " ${DEFAULT-VALUE}).")
    Mode mode = Mode.ADAPTIVE;

    @Option(
            names = "--policy",
            paramLabel = "NAME",
            defaultValue = "cache_aware",
            converter = BalancingName.class,
            description = "How an engine is chosen among several, except in the mode adaptive, which weighs costs:"
                    + " random, round_robin, power_of_two, least_load, cache_aware, consistent_hash or session"
                    + " (default: ${DEFAULT-VALUE}).")
    Balancing balancing = Balancing.CACHE_AWARE;

    @Option(
            names = "--prefill-policy",
            paramLabel = "NAME",
            converter = BalancingName.class,
            description = "The same for prefillers alone.")
    Optional<Balancing> prefillBalancing = Optional.empty();

    @Option(
            names = "--decode-policy",
            paramLabel = "NAME",
            converter = BalancingName.class,
            description = "The same for decoders alone.")
    Optional<Balancing> decodeBalancing = Optional.empty();

    @Option(
            names = "--w-ttft",
            paramLabel = "WEIGHT",
            defaultValue = "1",
            description = "What a millisecond until the first token costs in the mode adaptive (default:"
                    + " ${DEFAULT-VALUE}).")
    double ttftWeight;

    @Option(
            names = "--w-tpot",
            paramLabel = "WEIGHT",
            defaultValue = "1",
            description = "What a millisecond of delay of running streams costs there (default: ${DEFAULT-VALUE}).")
    double tpotWeight;

    @Option(
            names = "--kv-transfer",
            paramLabel = "NAME",
            defaultValue = "auto",
            converter = KvTransferName.class,
            description =
                    "How prompts come from one Baton to another: pull after the prefill, push while it computes, or auto,"
                            + " which measures both (default: ${DEFAULT-VALUE}).")
    KvTransferWay kvTransfer = KvTransferWay.AUTO;

    @Option(
            names = "--warm-up",
            negatable = true,
            defaultValue = "true",
            fallbackValue = "true",
            description =
                    "Send a few requests through Batons that are new, so that a client's is not the first (default:"
                            + " on).")
    boolean warmUp;

    /// @throws IllegalArgumentException if a weight is none
    PolicyConfig policy() {
        return PolicyConfig.builder()
                .mode(mode)
                .prefillBalancing(prefillBalancing.orElse(balancing))
                .decodeBalancing(decodeBalancing.orElse(balancing))
                .ttftWeight(ttftWeight)
                .tpotWeight(tpotWeight)
                .build();
    }

    /// Reads a mode.
    static final class ModeName implements ITypeConverter<Mode> {
        @Override
        public Mode convert(String value) {
            return Mode.of(value)
                    .orElseThrow(
                            () -> new TypeConversionException("'" + value + "' is none of the modes " + Mode.words()));
        }
    }

    /// Reads a way of transfer.
    static final class KvTransferName implements ITypeConverter<KvTransferWay> {
        @Override
        public KvTransferWay convert(String value) {
            return KvTransferWay.of(value)
                    .orElseThrow(() -> new TypeConversionException(
                            "'" + value + "' is none of the ways " + KvTransferWay.words()));
        }
    }

    /// Reads a way of balancing.
    static final class BalancingName implements ITypeConverter<Balancing> {
        @Override
        public Balancing convert(String value) {
            return Balancing.of(value)
                    .orElseThrow(() -> new TypeConversionException(
                            "'" + value + "' is none of the policies " + Balancing.words()));
        }
    }
}
